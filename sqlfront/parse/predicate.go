package parse

// predicate takes the rest of the statement. It checks only what keeps the text in its place: quotes and comments that
// end, parentheses that match, no semicolon, no parameter. What it means, PostgreSQL says.
func (p *parser) predicate() (*Predicate, error) {
	if p.atEnd() {
		return nil, p.fail("", "a predicate")
	}
	start := p.tok.start
	pred := &Predicate{Pos: p.pos()}
	var open []token
	for p.tok.kind != tokEOF && !(len(open) == 0 && p.isOther(";")) {
		switch p.tok.kind {
		case tokBad:
			return nil, p.fail("")
		case tokParam:
			return nil, &Error{Pos: p.pos(), SQLState: UndefinedParam, Msg: "there is no parameter " + clip(p.text(p.tok)),
				Hint: "a predicate takes no parameters: write the value as a constant"}
		case tokOther:
			var err error
			if open, err = p.nest(open); err != nil {
				return nil, err
			}
		}
		p.advance()
	}
	if len(open) > 0 {
		p.tok = open[len(open)-1]
		return nil, &Error{Pos: p.pos(), SQLState: SyntaxError, Msg: "unbalanced \"" + p.text(p.tok) + "\" in the predicate"}
	}
	pred.Text = p.sc.src[start:p.cut]
	return pred, nil
}

// nest keeps the open parentheses and brackets.
func (p *parser) nest(open []token) ([]token, error) {
	switch c := p.text(p.tok); c {
	case "(", "[":
		return append(open, p.tok), nil
	case ")", "]":
		if len(open) == 0 || p.text(open[len(open)-1]) != map[string]string{")": "(", "]": "["}[c] {
			return nil, &Error{Pos: p.pos(), SQLState: SyntaxError, Msg: "unbalanced \"" + c + "\" in the predicate"}
		}
		return open[:len(open)-1], nil
	case ";":
		return nil, p.fail("a predicate is one expression")
	}
	return open, nil
}
