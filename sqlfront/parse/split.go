package parse

import (
	"strings"
	"unicode/utf8"
)

// Piece is one statement of a text, without its semicolon.
type Piece struct {
	Text   string
	Offset int // characters before it
}

// Split cuts a text into its statements, as PostgreSQL and psql do: at semicolons outside of quotes, comments, parentheses
// and BEGIN ATOMIC bodies. Empty statements are left out. A text whose end is in doubt comes back as one piece.
func Split(src string, opt *Options) []Piece {
	whole := []Piece{{Text: src}}
	sc := newScanner(src, opt)
	var (
		pieces []Piece
		body   routine
		depth  int
		start  = -1 // of the statement's first token
		chars  counter
	)
	for {
		t := sc.next()
		switch {
		case t.kind == tokBad:
			return whole
		case t.kind == tokEOF, t.kind == tokOther && src[t.start] == ';' && depth == 0 && body.depth == 0:
			if t.kind == tokEOF && (depth != 0 || body.depth != 0) {
				return whole
			}
			if start >= 0 {
				pieces = append(pieces, Piece{Text: src[start:t.start], Offset: chars.to(src, start)})
			}
			if t.kind == tokEOF {
				return pieces
			}
			start, body = -1, routine{}
			continue
		case t.kind == tokOther && src[t.start] == '(':
			depth++
		case t.kind == tokOther && src[t.start] == ')':
			depth = max(0, depth-1)
		case t.kind == tokWord && depth == 0:
			body.word(src[t.start:t.end])
		}
		if start < 0 {
			start = t.start
			if t.kind != tokWord {
				body.words = 9 // cannot be CREATE FUNCTION
			}
		}
	}
}

// routine follows CREATE [OR REPLACE] FUNCTION|PROCEDURE … BEGIN ATOMIC … END by psql's own rule.
type routine struct {
	words int  // seen so far
	is    bool // it creates a routine
	depth int  // of BEGIN and CASE
}

func (r *routine) word(w string) {
	if len(w) > len("PROCEDURE") {
		r.words++
		return
	}
	w = strings.ToUpper(w)
	switch {
	case r.is && w == "BEGIN", r.depth > 0 && w == "CASE":
		r.depth++
	case r.depth > 0 && w == "END":
		r.depth--
	case r.words == 0 && w != "CREATE":
		r.words = 9
	case r.words < 4 && (w == "FUNCTION" || w == "PROCEDURE"):
		r.is = true
	}
	r.words++
}

// counter counts characters up to a byte offset, going forward only.
type counter struct{ offset, chars int }

func (c *counter) to(src string, offset int) int {
	c.chars += utf8.RuneCountInString(src[c.offset:offset])
	c.offset = offset
	return c.chars
}
