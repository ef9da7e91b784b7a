package parse

import "strings"

// End says how a statement of an Input ends.
type End uint8

const (
	EndSemicolon End = iota // with its semicolon
	EndCommand              // where a backslash command begins; the statement may be empty
)

// Typed is a statement of an Input.
type Typed struct {
	Text string // without its end, and without comments before it
	End  End
	Line int // on which it begins, counted from 1
}

// Input cuts text that comes piece by piece, as it is typed or read from a file, into statements: by the rule of Split, and
// also where a backslash stands outside of quotes and comments, which no statement of PostgreSQL has. Text is looked at
// once, however many pieces it takes. The zero Input is empty and ready for use.
type Input struct {
	// BackslashQuotes is as in Options.
	BackslashQuotes bool

	buf   strings.Builder
	at    int // where the scan goes on
	lines int // line breaks before base
	base  int // what lies before was given out

	body  routine
	depth int // of parentheses
	start int // of the statement's first token, +1; 0: none yet
	open  string
}

// Add appends text. It must end with a line break, or be the last.
func (in *Input) Add(text string) {
	if in.start == 0 && in.at == in.buf.Len() && in.open == "" {
		in.drop()
	}
	in.buf.WriteString(text)
}

// Next returns the next statement that has its end, false if there is none yet.
func (in *Input) Next() (Typed, bool) {
	src := in.buf.String()
	sc := newScanner(src, &Options{BackslashQuotes: in.BackslashQuotes})
	sc.pos = in.at
	in.open = ""
	for {
		t := sc.next()
		switch {
		case t.kind == tokBad && sc.pos == t.start: // unterminated; other faults are the server's to tell
			in.at, in.open = t.start, src[t.start:]
			return Typed{}, false
		case t.kind == tokEOF:
			in.at = len(src)
			return Typed{}, false
		case t.kind == tokString && sc.done():
			in.at = t.start // it may go on after the line break
			in.begin(t)
			return Typed{}, false
		case t.kind == tokOther && src[t.start] == '\\':
			return in.cut(t.start, t.start, EndCommand), true
		case t.kind == tokOther && src[t.start] == ';' && in.depth == 0 && in.body.depth == 0:
			if in.start > 0 {
				return in.cut(t.start, t.end, EndSemicolon), true
			}
			in.at = t.end
			continue
		case t.kind == tokOther && src[t.start] == '(':
			in.depth++
		case t.kind == tokOther && src[t.start] == ')':
			in.depth = max(0, in.depth-1)
		case t.kind == tokWord && in.depth == 0:
			in.body.word(src[t.start:t.end])
		}
		in.begin(t)
		in.at = t.end
	}
}

// done reports whether only white space and comments are left.
func (s *scanner) done() bool {
	rest := *s
	_, ok := rest.skipSpace()
	return ok && rest.pos == len(rest.src)
}

// begin notes where a statement begins.
func (in *Input) begin(t token) {
	if in.start > 0 {
		return
	}
	in.start = t.start + 1
	if t.kind != tokWord {
		in.body.words = 9 // cannot be CREATE FUNCTION
	}
}

// cut gives out the statement that ends before end; the scan goes on at next.
func (in *Input) cut(end, next int, how End) Typed {
	src := in.buf.String()
	t := Typed{End: how}
	from := end
	if in.start > 0 {
		from = in.start - 1
	}
	t.Text = strings.TrimRight(src[from:end], " \t\r\n")
	in.lines += strings.Count(src[in.base:from], "\n")
	t.Line = in.lines + 1
	in.base, in.at = from, next
	in.forget()
	return t
}

func (in *Input) forget() { in.start, in.depth, in.body, in.open = 0, 0, routine{}, "" }

// drop lets go of text that was given out.
func (in *Input) drop() {
	in.lines += strings.Count(in.buf.String()[in.base:], "\n")
	in.base, in.at = 0, 0
	in.buf.Reset()
}

// Line takes the rest of the line that the scan stands in, without its end: the arguments of a command, the data of a COPY.
// False: there is none.
func (in *Input) Line() (string, bool) {
	src := in.buf.String()
	if in.at >= len(src) {
		return "", false
	}
	line, _, found := strings.Cut(src[in.at:], "\n")
	in.at += len(line)
	if found {
		in.at++
	}
	return strings.TrimSuffix(line, "\r"), true
}

// EndLine passes over the rest of the line, if that is blank.
func (in *Input) EndLine() {
	src := in.buf.String()[in.at:]
	if n := strings.IndexByte(src, '\n'); n >= 0 && strings.TrimSpace(src[:n]) == "" {
		in.at += n + 1
	}
}

// Rest takes what has no end, for the end of a file, where the last statement needs no semicolon. Its text is empty if there
// is nothing but white space and comments.
func (in *Input) Rest() Typed {
	src := in.buf.String()
	from := len(src)
	switch {
	case in.start > 0:
		from = in.start - 1
	case in.open != "":
		from = in.at
	}
	in.begin(token{start: from})
	return in.cut(len(src), len(src), EndSemicolon)
}

// Reset forgets what has no end yet.
func (in *Input) Reset() {
	in.at = in.buf.Len()
	in.forget()
}

// Pending is the text that has no end yet.
func (in *Input) Pending() string {
	if in.start > 0 {
		return in.buf.String()[in.start-1:]
	}
	return in.open
}

// Waiting says for what the input waits, by the signs of psql's prompts: = for a statement to begin, the opening quote for the
// end of a quote, $ for that of a dollar quote, * for that of a comment, ( for a parenthesis, - for anything else.
func (in *Input) Waiting() byte {
	switch {
	case strings.HasPrefix(in.open, "/*"):
		return '*'
	case strings.HasPrefix(in.open, "$"):
		return '$'
	case in.open != "":
		return in.open[bodyStart(in.open)-1]
	case in.start == 0:
		return '='
	case in.depth > 0:
		return '('
	}
	return '-'
}

// OneLine writes a statement in one line: line breaks become blanks, and line comments go. False: a quote or a comment holds a line
// break, which must stay.
func OneLine(src string) (string, bool) {
	var b strings.Builder
	sc := newScanner(src, nil)
	for last := 0; ; {
		t := sc.next()
		if t.kind == tokBad {
			return src, false
		}
		gap := src[last:t.start]
		if strings.Contains(gap, "/*") && strings.Contains(gap, "\n") {
			return src, false
		}
		if i := strings.Index(gap, "--"); i >= 0 && !strings.Contains(gap, "/*") {
			gap = " "
		}
		if strings.ContainsAny(gap, "\r\n") {
			gap = " "
		}
		b.WriteString(gap)
		if t.kind == tokEOF {
			return strings.TrimSpace(b.String()), true
		}
		text := src[t.start:t.end]
		if strings.ContainsAny(text, "\r\n") {
			return src, false
		}
		b.WriteString(text)
		last = t.end
	}
}

// CopyDirection says whether a COPY moves rows over the connection, and which way.
type CopyDirection uint8

const (
	CopyNone CopyDirection = iota // no COPY, or one of the server's own files
	CopyIn                        // COPY … FROM STDIN
	CopyOut                       // COPY … TO STDOUT
)

// Copy looks at the direction of a COPY statement.
func Copy(src string, opt *Options) CopyDirection {
	if FirstWord(src) != "COPY" {
		return CopyNone
	}
	sc := newScanner(src, opt)
	depth, last := 0, ""
	for {
		t := sc.next()
		if t.kind == tokEOF || t.kind == tokBad {
			return CopyNone
		}
		text := src[t.start:t.end]
		switch {
		case text == "(":
			depth++
		case text == ")":
			depth--
		case t.kind != tokWord || depth > 0:
		case strings.EqualFold(text, "STDIN") || strings.EqualFold(text, "STDOUT"):
			switch last { // PostgreSQL takes either word for either way
			case "FROM":
				return CopyIn
			case "TO":
				return CopyOut
			}
		}
		last = strings.ToUpper(text)
	}
}
