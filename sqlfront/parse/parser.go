package parse

import (
	"strings"
	"unicode/utf8"
)

// Parse reads one statement of ours. A trailing semicolon is allowed. The error is *Error.
func Parse(src string, opt *Options) (Statement, error) {
	p := &parser{sc: newScanner(src, opt)}
	p.advance()
	stmt, err := p.statement()
	if err != nil {
		return nil, err
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	return stmt, nil
}

// A parser looks one token ahead.
type parser struct {
	sc   *scanner
	tok  token
	cut  int  // end of the token before tok, in bytes
	flat bool // no option of the statement takes a list
}

func (p *parser) advance() {
	p.cut = p.tok.end
	p.tok = p.sc.next()
}

func (p *parser) text(t token) string { return p.sc.src[t.start:t.end] }

// charPos turns a byte offset into a position.
func (p *parser) charPos(offset int) int { return utf8.RuneCountInString(p.sc.src[:offset]) + 1 }

func (p *parser) pos() int { return p.charPos(p.tok.start) }

// is reports whether the next token is the keyword, which is given in upper case.
func (p *parser) is(keyword string) bool {
	return p.tok.kind == tokWord && strings.EqualFold(p.text(p.tok), keyword)
}

func (p *parser) isOther(c string) bool { return p.tok.kind == tokOther && p.text(p.tok) == c }

// accept passes over a keyword if it comes next.
func (p *parser) accept(keyword string) bool {
	if p.is(keyword) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) acceptOther(c string) bool {
	if p.isOther(c) {
		p.advance()
		return true
	}
	return false
}

// fail returns the error for a token that does not fit.
func (p *parser) fail(hint string, expected ...string) *Error {
	e := &Error{Pos: p.pos(), Hint: hint, SQLState: SyntaxError, Expected: expected}
	switch p.tok.kind {
	case tokBad:
		e.Msg = p.tok.msg + " at or near \"" + clip(p.text(p.tok)) + "\""
		return e
	case tokEOF:
		e.Msg = "syntax error at end of input"
	default:
		e.Msg = "syntax error at or near \"" + clip(p.text(p.tok)) + "\""
	}
	if len(expected) > 0 {
		e.Msg += ": expected " + orList(expected)
	}
	return e
}

// clip shortens a token for a message.
func clip(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

func (p *parser) expect(keyword string) error {
	if p.accept(keyword) {
		return nil
	}
	return p.fail("", keyword)
}

// end checks that nothing but semicolons follows.
func (p *parser) end() error {
	expected := []string{"the end of the statement"}
	for p.acceptOther(";") {
		expected = nil
	}
	if p.tok.kind == tokEOF {
		return nil
	}
	return p.fail("", expected...)
}

// statement dispatches on the verb.
func (p *parser) statement() (Statement, error) {
	switch {
	case p.is("STORAGE"): // STORAGE FLUSH is a synonym of FLUSH
		p.advance()
		if !p.is("FLUSH") {
			return nil, p.fail("", "FLUSH")
		}
		return p.flush()
	case p.is("FLUSH"):
		return p.flush()
	case p.is("KILL"), p.is("CANCEL"):
		return p.kill()
	case p.is("RESTORE"):
		return p.restore()
	case p.is("SHOW"):
		return p.show()
	case p.is("EXPLAIN"):
		return p.explain()
	case p.words("CREATE", "STORAGE"):
		return p.createStorage()
	case p.words("DROP", "STORAGE"):
		return p.dropStorage()
	case p.words("ALTER", "STORAGE"):
		return p.alterStorage()
	case alterPolicy(newScanner(p.sc.src[p.tok.start:], nil)):
		return p.policy()
	case p.is("VERIFY"):
		return p.verify()
	case p.is("CLEANUP"):
		return p.cleanup()
	}
	if s, err := p.schedule(); s != nil || err != nil {
		return s, err
	}
	switch {
	case p.is("PAUSE"):
		return p.change(func(job JobRef) Statement { return &PauseJob{Job: job} })
	case p.is("RESUME"):
		return p.change(func(job JobRef) Statement { return &ResumeJob{Job: job} })
	}
	return nil, p.fail("", "FLUSH", "KILL", "PAUSE", "RESTORE", "RESUME", "SHOW", "EXPLAIN FLUSH", "VERIFY", "CLEANUP", "CREATE STORAGE", "DROP STORAGE", "ALTER STORAGE",
		"CREATE SCHEDULE", "TRIGGER SCHEDULE", "BACKFILL SCHEDULE", "DROP SCHEDULE", "ALTER TABLE … FLUSH POLICY")
}

func (p *parser) flush() (Statement, error) {
	p.advance()
	switch {
	case p.accept("TABLE"):
		return p.flushTable()
	case p.accept("ALL"):
		return p.flushAll()
	}
	hint := "did you mean FLUSH TABLE schema.table?"
	return nil, p.fail(hint, "TABLE", "ALL")
}

// flushTableHead reads name [OLDER THAN …] [WITH (…)].
func (p *parser) flushTableHead() (*FlushTable, error) {
	name, err := p.name("FLUSH TABLE")
	if err != nil {
		return nil, err
	}
	s := &FlushTable{Table: name}
	if s.Age, err = p.age(); err != nil {
		return nil, err
	}
	s.Options, err = p.options()
	return s, err
}

func (p *parser) flushTable() (*FlushTable, error) {
	s, err := p.flushTableHead()
	if err != nil {
		return nil, err
	}
	if p.accept("WHERE") {
		if s.Where, err = p.predicate(); err != nil {
			return nil, err
		}
		return s, nil
	}
	if !p.atEnd() {
		hint := ""
		switch {
		case p.is("WITH"):
			hint = "there can be only one WITH list"
		case p.is("OLDER"):
			hint = "OLDER THAN comes right behind the table's name, and once"
		}
		return nil, p.fail(hint, clausesAfter(s)...)
	}
	return s, nil
}

func (p *parser) flushAll() (Statement, error) {
	s, err := p.flushAllHead()
	if err != nil {
		return nil, err
	}
	if p.is("WHERE") {
		return nil, p.fail("a predicate belongs to one table: use FLUSH TABLE … WHERE", "the end of the statement")
	}
	return s, nil
}

// flushAllHead reads [TABLES] [IN namespace] [WITH (…)].
func (p *parser) flushAllHead() (*FlushAll, error) {
	s := &FlushAll{}
	p.accept("TABLES")
	if p.accept("IN") {
		s.InPos = p.pos()
		var err error
		if s.In, err = p.ident("a schema name"); err != nil {
			return nil, err
		}
	}
	var err error
	s.Options, err = p.options()
	return s, err
}

func (p *parser) atEnd() bool { return p.tok.kind == tokEOF || p.isOther(";") }

// kill reads KILL JOB, KILL JOBS WHERE, and the same with CANCEL.
func (p *parser) kill() (Statement, error) {
	verb := strings.ToUpper(p.text(p.tok))
	p.advance()
	if p.is("JOBS") {
		return p.killJobs(verb)
	}
	job, err := p.theJob(verb, "JOB", "JOBS")
	if err != nil {
		return nil, err
	}
	return &KillJob{Job: job}, nil
}

// change reads PAUSE JOB or RESUME JOB.
func (p *parser) change(build func(JobRef) Statement) (Statement, error) {
	verb := strings.ToUpper(p.text(p.tok))
	p.advance()
	if p.is("JOBS") {
		return nil, &Error{Pos: p.pos(), SQLState: NotSupported, Msg: "there is no " + verb + " JOBS",
			Hint: strings.ToLower(verb) + " jobs one by one: " + verb + " JOB 'id'"}
	}
	job, err := p.theJob(verb, "JOB", "SCHEDULE")
	if err != nil {
		return nil, err
	}
	return build(job), nil
}

// theJob reads JOB and the id behind it.
func (p *parser) theJob(verb string, expected ...string) (JobRef, error) {
	if !p.accept("JOB") {
		return JobRef{}, p.fail("did you mean "+verb+" JOB 'id'?", expected...)
	}
	return p.job()
}

func (p *parser) show() (Statement, error) {
	p.advance()
	switch {
	case p.accept("JOBS"):
		return &ShowJobs{}, nil
	case p.accept("JOB"):
		job, err := p.job()
		if err != nil {
			return nil, err
		}
		complete, err := p.whenComplete()
		if err != nil {
			return nil, err
		}
		return &ShowJob{Job: job, WhenComplete: complete}, nil
	case p.accept("COLD"):
		if err := p.expect("TABLE"); err != nil {
			return nil, err
		}
		name, err := p.name("SHOW COLD TABLE")
		if err != nil {
			return nil, err
		}
		return &ShowColdTable{Table: name}, nil
	case p.accept("STORAGES"):
		return &ShowStorages{}, nil
	case p.accept("SCHEDULES"):
		return &ShowSchedules{}, nil
	case p.is("SCHEDULE"):
		s := &ShowSchedules{One: true}
		var err error
		s.Name, s.NamePos, err = p.scheduleName()
		return s, err
	case p.accept("FLUSH"):
		return p.showPolicy()
	}
	return nil, p.fail("", "JOBS", "JOB", "COLD TABLE", "STORAGES", "SCHEDULES", "SCHEDULE", "FLUSH POLICIES")
}

// job reads a job's id or a parameter.
func (p *parser) job() (JobRef, error) {
	ref := JobRef{Pos: p.pos()}
	switch p.tok.kind {
	case tokParam:
		if p.text(p.tok) != "$1" {
			return ref, &Error{Pos: ref.Pos, SQLState: UndefinedParam, Msg: "there is no parameter " + clip(p.text(p.tok)),
				Hint: "the statement has one parameter, $1"}
		}
		ref.Param = 1
	case tokString:
		id, ok := decodeString(p.text(p.tok), p.sc.backslash)
		if !ok {
			return ref, p.fail("write the job id as a plain '…' constant", "a job id in quotes")
		}
		ref.ID = id
	case tokQuoted, tokWord:
		return ref, p.fail("a job id stands in single quotes: 'flush:app.events:…'", "a job id in quotes")
	default:
		return ref, p.fail("", "a job id in quotes")
	}
	p.advance()
	return ref, nil
}

// name reads schema.table.
func (p *parser) name(verb string) (Name, error) {
	n := Name{Pos: p.pos()}
	start := p.tok.start
	var err error
	if n.Schema, err = p.ident("a table name"); err != nil {
		return n, err
	}
	if !p.acceptOther(".") {
		given := p.sc.src[start:p.cut]
		return n, &Error{Pos: n.Pos, SQLState: SyntaxError, Expected: []string{"schema.table"},
			Msg:  "table name \"" + clip(n.Schema) + "\" is not qualified: expected schema.table",
			Hint: "write its schema too, as in " + verb + " public." + clip(given)}
	}
	if n.Table, err = p.ident("a table name"); err != nil {
		return n, err
	}
	if p.isOther(".") {
		return n, p.fail("a table is named by its schema and its name", "the end of the table name")
	}
	return n, nil
}

func (p *parser) ident(what string) (string, error) {
	if p.tok.kind != tokWord && p.tok.kind != tokQuoted {
		return "", p.fail("", what)
	}
	name, ok := decodeName(p.text(p.tok))
	if !ok {
		return "", p.fail("this escape is not understood here", what)
	}
	p.advance()
	return name, nil
}

// options reads [WITH (name [= value], …)].
func (p *parser) options() ([]Option, error) {
	if !p.accept("WITH") {
		return nil, nil
	}
	return p.optionList("")
}

// optionList reads (name [= value], …).
func (p *parser) optionList(hint string) ([]Option, error) {
	if !p.acceptOther("(") {
		return nil, p.fail(hint, `"("`)
	}
	var opts []Option
	for {
		o, err := p.option()
		if err != nil {
			return nil, err
		}
		for _, other := range opts {
			if other.Name == o.Name {
				return nil, &Error{Pos: o.Pos, SQLState: SyntaxError, Msg: "option \"" + clip(o.Name) + "\" is given twice"}
			}
		}
		opts = append(opts, o)
		if p.acceptOther(")") {
			return opts, nil
		}
		if !p.acceptOther(",") {
			return nil, p.fail("", `","`, `")"`)
		}
	}
}

func (p *parser) option() (Option, error) {
	o := Option{Pos: p.pos(), Value: "true"}
	var err error
	if o.Name, err = p.ident("an option name"); err != nil {
		return o, err
	}
	o.ValuePos = o.Pos
	if !p.acceptOther("=") {
		return o, nil
	}
	o.ValuePos = p.pos()
	if !p.flat && p.acceptOther("(") {
		if o.List, err = p.list(); err != nil {
			return o, err
		}
		o.Value = listText(o.List)
		return o, nil
	}
	sign := ""
	if p.acceptOther("-") {
		sign = "-"
	}
	ok := true
	switch p.tok.kind {
	case tokNumber:
		o.Value = sign + p.text(p.tok)
	case tokString:
		o.Value, ok = decodeString(p.text(p.tok), p.sc.backslash)
		o.TextPos = p.textPos(o.Value)
	case tokWord:
		o.Value = fold(p.text(p.tok))
	case tokQuoted:
		o.Value, ok = decodeName(p.text(p.tok))
	default:
		ok = false
	}
	if !ok || sign != "" && p.tok.kind != tokNumber {
		return o, p.fail("", "a value")
	}
	p.advance()
	return o, nil
}

// textPos is where a string constant's value begins, if it stands there as it reads: without escapes and doubled quotes.
func (p *parser) textPos(value string) int {
	text := p.text(p.tok)
	begin := strings.IndexByte(text, '\'') + 1
	closing := 1
	if text[0] == '$' {
		begin = strings.IndexByte(text[1:], '$') + 2
		closing = begin
	}
	if len(text) != begin+len(value)+closing || text[begin:len(text)-closing] != value {
		return 0
	}
	return p.charPos(p.tok.start + begin)
}
