package parse

import "strings"

// VerifyTable is VERIFY TABLE name [WITH (…)].
type VerifyTable struct {
	Table   Name
	Options []Option
}

// Cleanup is CLEANUP [OBJECT 'url', …] [WITH (…)].
type Cleanup struct {
	Objects []Object // none: what failed attempts left behind
	Options []Option
}

// MaxObjects is how many objects one CLEANUP may name.
const MaxObjects = 1000

// Object is the address of an object in a storage.
type Object struct {
	URL string
	Pos int
}

func (*VerifyTable) statement() {}
func (*Cleanup) statement()     {}

// Tag implements Statement.
func (*VerifyTable) Tag() string { return "VERIFY" }

// Tag implements Statement.
func (*Cleanup) Tag() string { return "CLEANUP" }

func (s *VerifyTable) String() string {
	return "VERIFY TABLE " + s.Table.String() + printOptions(s.Options)
}

func (s *Cleanup) String() string {
	text := "CLEANUP"
	for i, o := range s.Objects {
		text += []string{" OBJECT ", ", "}[min(i, 1)] + quoteString(o.URL)
	}
	return text + printOptions(s.Options)
}

// verify reads VERIFY TABLE name [WITH (…)].
func (p *parser) verify() (Statement, error) {
	p.advance()
	if !p.accept("TABLE") {
		return nil, p.fail("did you mean VERIFY TABLE schema.table?", "TABLE")
	}
	name, err := p.name("VERIFY TABLE")
	if err != nil {
		return nil, err
	}
	s := &VerifyTable{Table: name}
	if s.Options, err = p.options(); err != nil {
		return nil, err
	}
	if !p.atEnd() {
		hint := ""
		if p.is("WHERE") {
			hint = "segments are read whole: there is nothing to choose"
		}
		return nil, p.fail(hint, afterOptions(s.Options)...)
	}
	return s, nil
}

// afterOptions is what may stand behind a WITH list that comes last, or in its place.
func afterOptions(given []Option) []string {
	if given == nil {
		return []string{"WITH", "the end of the statement"}
	}
	return []string{"the end of the statement"}
}

// cleanup reads CLEANUP [OBJECT 'url', …] [WITH (…)].
func (p *parser) cleanup() (Statement, error) {
	p.advance()
	s := &Cleanup{}
	if p.accept("OBJECT") {
		if err := p.objects(s); err != nil {
			return nil, err
		}
	}
	var err error
	if s.Options, err = p.options(); err != nil {
		return nil, err
	}
	if p.atEnd() {
		return s, nil
	}
	expected := afterOptions(s.Options)
	hint := ""
	switch {
	case p.is("TABLE"), p.is("ALL"):
		hint = "CLEANUP works on all storages, and takes no table"
	case p.is("OBJECTS"):
		hint = "did you mean CLEANUP OBJECT 'url', 'url'?"
	}
	switch {
	case s.Options == nil && s.Objects == nil:
		expected = append([]string{"OBJECT"}, expected...)
	case s.Options == nil:
		expected = append([]string{`","`}, expected...)
	}
	return nil, p.fail(hint, expected...)
}

// objects reads a list of addresses in quotes.
func (p *parser) objects(s *Cleanup) error {
	for {
		o := Object{Pos: p.pos()}
		ok := p.tok.kind == tokString
		if ok {
			o.URL, ok = decodeString(p.text(p.tok), p.sc.backslash)
		}
		if !ok {
			return p.fail("system.findings has the addresses of stray objects: 'file:///…'", "an address in quotes")
		}
		if strings.TrimSpace(o.URL) == "" {
			return &Error{Pos: o.Pos, SQLState: InvalidParameter, Msg: "the address of an object is empty"}
		}
		for _, other := range s.Objects {
			if other.URL == o.URL {
				return &Error{Pos: o.Pos, SQLState: SyntaxError, Msg: "object \"" + clip(o.URL) + "\" is given twice"}
			}
		}
		if len(s.Objects) == MaxObjects {
			return &Error{Pos: o.Pos, SQLState: InvalidParameter, Msg: "more than 1000 objects are named", Hint: "name the others in a statement of their own"}
		}
		p.advance()
		s.Objects = append(s.Objects, o)
		if !p.acceptOther(",") {
			return nil
		}
	}
}
