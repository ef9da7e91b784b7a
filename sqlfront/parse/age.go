package parse

// Age is OLDER THAN 'interval' [ON column]. What the interval means, PostgreSQL says.
type Age struct {
	Interval    string
	IntervalPos int    // of the constant
	Column      string // "": the table's only column with a time
	ColumnPos   int
}

// String begins with a space; no Age prints as nothing.
func (a *Age) String() string {
	if a == nil {
		return ""
	}
	text := " OLDER THAN " + quoteString(a.Interval)
	if a.Column != "" {
		text += " ON " + QuoteName(a.Column)
	}
	return text
}

// age reads [OLDER THAN 'interval' [ON column]].
func (p *parser) age() (*Age, error) {
	if !p.accept("OLDER") {
		return nil, nil
	}
	if err := p.expect("THAN"); err != nil {
		return nil, err
	}
	a := &Age{IntervalPos: p.pos()}
	ok := p.tok.kind == tokString
	if ok {
		a.Interval, ok = decodeString(p.text(p.tok), p.sc.backslash)
	}
	if !ok {
		return nil, p.fail("for example: OLDER THAN '7 days'", "an interval in quotes")
	}
	p.advance()
	if !p.accept("ON") {
		return a, nil
	}
	a.ColumnPos = p.pos()
	var err error
	if a.Column, err = p.ident("a column name"); err != nil {
		return nil, err
	}
	if p.isOther(".") {
		return nil, p.fail("the column is one of the table itself: write its name alone", "the end of the column name")
	}
	return a, nil
}

// clausesAfter lists what may follow the clauses that a FLUSH TABLE has.
func clausesAfter(s *FlushTable) []string {
	next := []string{"WHERE", "the end of the statement"}
	if s.Options != nil {
		return next
	}
	next = append([]string{"WITH"}, next...)
	switch {
	case s.Age == nil:
		return append([]string{"OLDER THAN"}, next...)
	case s.Age.Column == "":
		return append([]string{"ON"}, next...)
	}
	return next
}
