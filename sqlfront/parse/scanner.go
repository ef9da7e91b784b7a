package parse

import (
	"strings"
	"unicode/utf8"
)

// Options say how the client's session reads text.
type Options struct {
	// BackslashQuotes is true while standard_conforming_strings is off: a backslash then escapes in '…' too.
	BackslashQuotes bool
}

type kind uint8

const (
	tokEOF    kind = iota
	tokWord        // an unquoted identifier or keyword
	tokQuoted      // "…" or U&"…" [UESCAPE '…']
	tokString      // '…', E'…', U&'…' [UESCAPE '…'], B'…', X'…', N'…', $tag$…$tag$
	tokNumber      // 12, 1.5e3
	tokParam       // $1
	tokOther       // one character of punctuation or of an operator
	tokBad         // an unterminated quote or comment; msg says which
)

// A token is a piece of the source; the text stays there.
type token struct {
	kind       kind
	start, end int // bytes
	msg        string
}

// A scanner cuts a source into tokens as PostgreSQL's does, except that operators come one character at a time.
type scanner struct {
	src       string
	pos       int // byte offset
	backslash bool
}

func newScanner(src string, opt *Options) *scanner {
	s := &scanner{src: src}
	if opt != nil {
		s.backslash = opt.BackslashQuotes
	}
	return s
}

// next returns the next token. After tokEOF and tokBad it returns the same again.
func (s *scanner) next() token {
	if bad, ok := s.skipSpace(); !ok {
		return bad
	}
	start := s.pos
	if start >= len(s.src) {
		return token{kind: tokEOF, start: start, end: start}
	}
	c := s.src[start]
	switch {
	case c == '\'':
		return s.quoted(start, start+1, s.backslash)
	case c == '"':
		return s.identifier(start, start+1)
	case c == '$':
		return s.dollar(start)
	case isDigit(c), c == '.' && start+1 < len(s.src) && isDigit(s.src[start+1]):
		return s.number(start)
	case isWordStart(c):
		return s.word(start)
	}
	_, n := utf8.DecodeRuneInString(s.src[start:])
	s.pos = start + n
	return token{kind: tokOther, start: start, end: s.pos}
}

// skipSpace passes over white space and comments.
func (s *scanner) skipSpace() (token, bool) {
	for s.pos < len(s.src) {
		switch {
		case isSpace(s.src[s.pos]):
			s.pos++
		case strings.HasPrefix(s.src[s.pos:], "--"):
			s.pos = lineEnd(s.src, s.pos)
		case strings.HasPrefix(s.src[s.pos:], "/*"):
			end := commentEnd(s.src, s.pos)
			if end < 0 {
				return token{kind: tokBad, start: s.pos, end: len(s.src), msg: "unterminated /* comment"}, false
			}
			s.pos = end
		default:
			return token{}, true
		}
	}
	return token{}, true
}

func lineEnd(src string, i int) int {
	if n := strings.IndexAny(src[i:], "\r\n"); n >= 0 {
		return i + n
	}
	return len(src)
}

// commentEnd returns the offset behind the comment that starts at i, or -1. Comments nest.
func commentEnd(src string, i int) int {
	depth := 0
	for i < len(src) {
		switch {
		case strings.HasPrefix(src[i:], "/*"):
			depth++
			i += 2
		case strings.HasPrefix(src[i:], "*/"):
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return -1
}

// quoted reads a string constant whose body begins at i. A constant may go on after a line break, in the same mode.
func (s *scanner) quoted(start, i int, backslash bool) token {
	for i < len(s.src) {
		switch {
		case s.src[i] == '\\' && backslash:
			i += 2
		case s.src[i] != '\'':
			i++
		case i+1 < len(s.src) && s.src[i+1] == '\'':
			i += 2
		default:
			s.pos = i + 1
			next := continued(s.src, s.pos)
			if next < 0 {
				return token{kind: tokString, start: start, end: s.pos}
			}
			i = next
		}
	}
	return token{kind: tokBad, start: start, end: len(s.src), msg: "unterminated quoted string"}
}

// continued returns the offset behind the quote that continues a string constant closed just before i, or -1: between the
// two stand white space with at least one line break, and line comments.
func continued(src string, i int) int {
	broken := false
	for i < len(src) {
		switch {
		case src[i] == '\n' || src[i] == '\r':
			broken = true
			i++
		case isSpace(src[i]):
			i++
		case strings.HasPrefix(src[i:], "--"):
			i = lineEnd(src, i)
		case src[i] == '\'' && broken:
			return i + 1
		default:
			return -1
		}
	}
	return -1
}

func (s *scanner) identifier(start, i int) token {
	for i < len(s.src) {
		switch {
		case s.src[i] != '"':
			i++
		case i+1 < len(s.src) && s.src[i+1] == '"':
			i += 2
		default:
			s.pos = i + 1
			if i == bodyStart(s.src[start:])+start {
				return token{kind: tokBad, start: start, end: s.pos, msg: "zero-length delimited identifier"}
			}
			return token{kind: tokQuoted, start: start, end: s.pos}
		}
	}
	return token{kind: tokBad, start: start, end: len(s.src), msg: "unterminated quoted identifier"}
}

// bodyStart returns the offset behind the opening quote of a quoted token.
func bodyStart(text string) int { return strings.IndexAny(text, `'"`) + 1 }

// dollar reads $1 or $tag$…$tag$; a lone $ is punctuation, which no statement has.
func (s *scanner) dollar(start int) token {
	i := start + 1
	if i < len(s.src) && isDigit(s.src[i]) {
		for i < len(s.src) && isDigit(s.src[i]) {
			i++
		}
		s.pos = i
		return token{kind: tokParam, start: start, end: i}
	}
	for i < len(s.src) && isWordPart(s.src[i]) && s.src[i] != '$' {
		i++
	}
	if i >= len(s.src) || s.src[i] != '$' {
		s.pos = start + 1
		return token{kind: tokOther, start: start, end: s.pos}
	}
	tag := s.src[start : i+1]
	n := strings.Index(s.src[i+1:], tag)
	if n < 0 {
		return token{kind: tokBad, start: start, end: len(s.src), msg: "unterminated dollar-quoted string"}
	}
	s.pos = i + 1 + n + len(tag)
	return token{kind: tokString, start: start, end: s.pos}
}

func (s *scanner) number(start int) token {
	i := start
	for i < len(s.src) && (isWordPart(s.src[i]) && s.src[i] != '$' || s.src[i] == '.') {
		if (s.src[i] == 'e' || s.src[i] == 'E') && i+1 < len(s.src) && (s.src[i+1] == '+' || s.src[i+1] == '-') {
			i++
		}
		i++
	}
	s.pos = i
	return token{kind: tokNumber, start: start, end: i}
}

// word reads an identifier, or the string that its letter introduces.
func (s *scanner) word(start int) token {
	rest := s.src[start:]
	if len(rest) > 1 && rest[1] == '\'' {
		switch rest[0] {
		case 'e', 'E':
			return s.quoted(start, start+2, true)
		case 'n', 'N':
			return s.quoted(start, start+2, s.backslash)
		case 'b', 'B', 'x', 'X':
			return s.quoted(start, start+2, false)
		}
	}
	if len(rest) > 2 && (rest[0] == 'u' || rest[0] == 'U') && rest[1] == '&' {
		switch rest[2] {
		case '\'':
			return s.withEscape(s.quoted(start, start+3, false))
		case '"':
			return s.withEscape(s.identifier(start, start+3))
		}
	}
	i := start + 1
	for i < len(s.src) && isWordPart(s.src[i]) {
		i++
	}
	s.pos = i
	return token{kind: tokWord, start: start, end: i}
}

// withEscape takes the UESCAPE '…' that follows a U& token into it, as PostgreSQL's own scanner does.
func (s *scanner) withEscape(t token) token {
	if t.kind == tokBad {
		return t
	}
	const keyword = "UESCAPE"
	if _, ok := s.skipSpace(); ok && len(s.src)-s.pos > len(keyword) && strings.EqualFold(s.src[s.pos:s.pos+len(keyword)], keyword) {
		s.pos += len(keyword)
		if _, ok := s.skipSpace(); ok && strings.HasPrefix(s.src[s.pos:], "'") {
			if c := s.quoted(s.pos, s.pos+1, s.backslash); c.kind == tokString {
				t.end = c.end
			}
		}
	}
	s.pos = t.end
	return t
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isWordStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= utf8.RuneSelf
}
func isWordPart(c byte) bool { return isWordStart(c) || isDigit(c) || c == '$' }
