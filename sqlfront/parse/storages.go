package parse

import "strings"

// CreateStorage is CREATE STORAGE name LOCATION 'url' [WITH (…)].
type CreateStorage struct {
	Name        string
	NamePos     int
	Location    string
	LocationPos int
	Options     []Option
}

// DropStorage is DROP STORAGE name.
type DropStorage struct {
	Name    string
	NamePos int
}

// AdoptStorage is ALTER STORAGE name ADOPT: the storage is this installation's from now on, whoever's it was.
type AdoptStorage struct {
	Name    string
	NamePos int
}

// ShowStorages is SHOW STORAGES.
type ShowStorages struct{}

func (*CreateStorage) statement() {}
func (*DropStorage) statement()   {}
func (*AdoptStorage) statement()  {}
func (*ShowStorages) statement()  {}

// Tag implements Statement.
func (*CreateStorage) Tag() string { return "CREATE STORAGE" }

// Tag implements Statement.
func (*DropStorage) Tag() string { return "DROP STORAGE" }

// Tag implements Statement.
func (*AdoptStorage) Tag() string { return "ALTER STORAGE" }

// Tag implements Statement.
func (*ShowStorages) Tag() string { return "SHOW" }

func (s *CreateStorage) String() string {
	return "CREATE STORAGE " + QuoteName(s.Name) + " LOCATION " + quoteString(s.Location) + printOptions(s.Options)
}
func (s *DropStorage) String() string  { return "DROP STORAGE " + QuoteName(s.Name) }
func (s *AdoptStorage) String() string { return "ALTER STORAGE " + QuoteName(s.Name) + " ADOPT" }
func (s *ShowStorages) String() string { return "SHOW STORAGES" }

// words reports whether the statement begins with the two words, which are given in upper case, and passes over the first.
func (p *parser) words(first, second string) bool {
	if !p.is(first) || !startsWith(newScanner(p.sc.src[p.tok.start:], nil), []string{first, second}) {
		return false
	}
	p.advance()
	return true
}

func (p *parser) createStorage() (Statement, error) {
	p.advance()
	s := &CreateStorage{NamePos: p.pos()}
	var err error
	if s.Name, err = p.ident("a storage name"); err != nil {
		return nil, err
	}
	if !p.accept("LOCATION") {
		return nil, p.fail("for example: CREATE STORAGE "+QuoteName(clip(s.Name))+" LOCATION 's3://bucket/prefix'", "LOCATION")
	}
	s.LocationPos = p.pos()
	ok := p.tok.kind == tokString
	if ok {
		s.Location, ok = decodeString(p.text(p.tok), p.sc.backslash)
	}
	if !ok {
		return nil, p.secret(p.fail("a location stands in single quotes: 's3://bucket/prefix'", "a location in quotes"))
	}
	p.advance()
	p.flat = true
	defer func() { p.flat = false }()
	if s.Options, err = p.options(); err != nil {
		return nil, p.secret(err)
	}
	return s, nil
}

// secret takes what was typed out of an error about a place where people put keys.
func (p *parser) secret(err error) error {
	e, ok := err.(*Error)
	if !ok || p.tok.kind == tokEOF {
		return err
	}
	clean := *e
	if before, after, found := strings.Cut(e.Msg, "\""+clip(p.text(p.tok))+"\""); found && p.tok.kind != tokOther {
		clean.Msg = before + "\"…\"" + after
	}
	return &clean
}

func (p *parser) dropStorage() (Statement, error) {
	p.advance()
	s := &DropStorage{NamePos: p.pos()}
	var err error
	s.Name, err = p.ident("a storage name")
	return s, err
}

func (p *parser) alterStorage() (Statement, error) {
	p.advance()
	s := &AdoptStorage{NamePos: p.pos()}
	var err error
	if s.Name, err = p.ident("a storage name"); err != nil {
		return nil, err
	}
	if !p.accept("ADOPT") {
		return nil, p.fail("a storage does not move, for its segments would stay behind: create another one", "ADOPT")
	}
	return s, nil
}
