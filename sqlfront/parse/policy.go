package parse

import "strings"

// SetPolicy is ALTER TABLE name SET FLUSH POLICY (option, …).
type SetPolicy struct {
	Table   Name
	ListPos int // of the parenthesis
	Options []Option
}

// ChangePolicy is ALTER TABLE name RESET, PAUSE or RESUME FLUSH POLICY.
type ChangePolicy struct {
	Verb  string // RESET, PAUSE, RESUME
	Table Name
}

// ShowPolicies is SHOW FLUSH POLICIES.
type ShowPolicies struct{}

// ShowPolicy is SHOW FLUSH POLICY FOR name.
type ShowPolicy struct{ Table Name }

func (*SetPolicy) statement()    {}
func (*ChangePolicy) statement() {}
func (*ShowPolicies) statement() {}
func (*ShowPolicy) statement()   {}

// Tag implements Statement.
func (*SetPolicy) Tag() string { return "ALTER TABLE" }

// Tag implements Statement.
func (*ChangePolicy) Tag() string { return "ALTER TABLE" }

// Tag implements Statement.
func (*ShowPolicies) Tag() string { return "SHOW" }

// Tag implements Statement.
func (*ShowPolicy) Tag() string { return "SHOW" }

func (s *SetPolicy) String() string {
	return "ALTER TABLE " + s.Table.String() + " SET FLUSH POLICY" + strings.TrimPrefix(printOptions(s.Options), " WITH")
}
func (s *ChangePolicy) String() string {
	return "ALTER TABLE " + s.Table.String() + " " + s.Verb + " FLUSH POLICY"
}
func (s *ShowPolicies) String() string { return "SHOW FLUSH POLICIES" }
func (s *ShowPolicy) String() string   { return "SHOW FLUSH POLICY FOR " + s.Table.String() }

// policyVerbs are what may be done to a policy.
var policyVerbs = []string{"SET", "RESET", "PAUSE", "RESUME"}

// alterPolicy recognizes ALTER TABLE [IF EXISTS] [ONLY] name [*] SET|RESET|PAUSE|RESUME FLUSH. PostgreSQL has no such statement:
// what it sets or resets behind the name is another word, and it pauses nothing.
func alterPolicy(sc *scanner) bool {
	if !startsWith(sc, []string{"ALTER", "TABLE"}) {
		return false
	}
	is := func(t token, words ...string) bool {
		for _, w := range words {
			if t.kind == tokWord && strings.EqualFold(sc.src[t.start:t.end], w) {
				return true
			}
		}
		return false
	}
	other := func(t token, c byte) bool { return t.kind == tokOther && sc.src[t.start] == c }
	t, named := sc.next(), false
	if is(t, "IF") {
		t = sc.next()
		if named = !is(t, "EXISTS"); !named { // else it is the table's name
			t = sc.next()
		}
	}
	if is(t, "ONLY") && !named {
		t = sc.next()
	}
	for range 3 { // a database's name may come first
		if !named {
			if t.kind != tokWord && t.kind != tokQuoted {
				return false
			}
			t = sc.next()
		}
		if named = false; !other(t, '.') {
			break
		}
		t = sc.next()
	}
	if other(t, '*') {
		t = sc.next()
	}
	return is(t, policyVerbs...) && is(sc.next(), "FLUSH")
}

// policy reads the rest of ALTER TABLE … FLUSH POLICY.
func (p *parser) policy() (Statement, error) {
	p.advance()
	p.advance()
	if p.is("IF") || p.is("ONLY") {
		return nil, p.fail("a policy is of one table with all its partitions: write its name alone", "a table name")
	}
	name, err := p.name("ALTER TABLE")
	if err != nil {
		return nil, err
	}
	verb := strings.ToUpper(p.text(p.tok))
	if !p.is("SET") && !p.is("RESET") && !p.is("PAUSE") && !p.is("RESUME") {
		return nil, p.fail("", policyVerbs...)
	}
	p.advance()
	if err := p.expect("FLUSH"); err != nil {
		return nil, err
	}
	if err := p.expect("POLICY"); err != nil {
		return nil, err
	}
	if verb != "SET" {
		return &ChangePolicy{Verb: verb, Table: name}, nil
	}
	s := &SetPolicy{Table: name, ListPos: p.pos()}
	if p.is("WITH") {
		return nil, p.fail("the options stand right behind POLICY: SET FLUSH POLICY (interval = '1 hour')", `"("`)
	}
	s.Options, err = p.optionList("for example: SET FLUSH POLICY (interval = '1 hour', older_than = '7 days')")
	return s, err
}

// showPolicy reads the rest of SHOW FLUSH.
func (p *parser) showPolicy() (Statement, error) {
	switch {
	case p.accept("POLICIES"):
		return &ShowPolicies{}, nil
	case p.accept("POLICY"):
		if err := p.expect("FOR"); err != nil {
			return nil, err
		}
		name, err := p.name("SHOW FLUSH POLICY FOR")
		return &ShowPolicy{Table: name}, err
	}
	return nil, p.fail("", "POLICIES", "POLICY FOR")
}

// ParsePredicate reads a predicate that is the value of an option. It is checked as one behind WHERE is. Its error's position is
// one in the text.
func ParsePredicate(text string, opt *Options) (*Predicate, error) {
	p := &parser{sc: newScanner(text, opt)}
	p.advance()
	pred, err := p.predicate()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEOF {
		return nil, p.fail("a predicate is one expression")
	}
	return pred, nil
}
