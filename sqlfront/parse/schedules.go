package parse

import "strings"

// CreateSchedule is CREATE SCHEDULE name FOR statement EVERY '…' | CRON '…' [TIME ZONE '…'] [WITH (…)] [WHERE …]. The predicate
// is that of the FLUSH TABLE inside, and stands last as in every statement.
type CreateSchedule struct {
	Name     string
	NamePos  int
	For      Statement // *FlushTable, *FlushAll, *VerifyTable, *VerifyAll or *Cleanup
	ForPos   int
	Every    string // an interval, or ""
	EveryPos int    // of the constant
	Cron     string // a cron expression, or ""
	CronPos  int    // of the constant
	TextPos  int    // of the expression's first character; 0: its letters are not those of the constant
	Zone     string // of the cron expression; "": UTC
	ZonePos  int
	Options  []Option // of the schedule
}

// VerifyAll is VERIFY ALL [TABLES] [IN namespace] [WITH (…)]. Only a schedule holds it.
type VerifyAll struct {
	In      string
	InPos   int
	Options []Option
}

// ChangeSchedule is PAUSE, RESUME, TRIGGER or DROP SCHEDULE name.
type ChangeSchedule struct {
	Verb    string // PAUSE, RESUME, TRIGGER, DROP
	Name    string
	NamePos int
}

// BackfillSchedule is BACKFILL SCHEDULE name FROM '…' TO '…'. What the times mean, PostgreSQL says.
type BackfillSchedule struct {
	Name     string
	NamePos  int
	From, To string
	FromPos  int
	ToPos    int
}

// ShowSchedules is SHOW SCHEDULES, or SHOW SCHEDULE name.
type ShowSchedules struct {
	Name    string // "": all
	One     bool
	NamePos int
}

// ExplainSchedule is EXPLAIN SCHEDULE name: when it fires next.
type ExplainSchedule struct {
	Name    string
	NamePos int
}

func (*CreateSchedule) statement()   {}
func (*VerifyAll) statement()        {}
func (*ChangeSchedule) statement()   {}
func (*BackfillSchedule) statement() {}
func (*ShowSchedules) statement()    {}
func (*ExplainSchedule) statement()  {}

// Tag implements Statement.
func (*CreateSchedule) Tag() string { return "CREATE SCHEDULE" }

// Tag implements Statement.
func (*VerifyAll) Tag() string { return "VERIFY" }

// Tag implements Statement.
func (s *ChangeSchedule) Tag() string { return s.Verb + " SCHEDULE" }

// Tag implements Statement.
func (*BackfillSchedule) Tag() string { return "BACKFILL SCHEDULE" }

// Tag implements Statement.
func (*ShowSchedules) Tag() string { return "SHOW" }

// Tag implements Statement.
func (*ExplainSchedule) Tag() string { return "EXPLAIN" }

func (s *CreateSchedule) String() string {
	text, where := s.For.String(), ""
	if f, ok := s.For.(*FlushTable); ok && f.Where != nil {
		head := *f
		head.Where = nil
		text, where = head.String(), " WHERE "+f.Where.Text
	}
	text = "CREATE SCHEDULE " + QuoteName(s.Name) + " FOR " + text
	if s.Cron != "" {
		text += " CRON " + quoteString(s.Cron)
		if s.Zone != "" {
			text += " TIME ZONE " + quoteString(s.Zone)
		}
	} else {
		text += " EVERY " + quoteString(s.Every)
	}
	return text + printOptions(s.Options) + where
}

func (s *VerifyAll) String() string {
	text := "VERIFY ALL TABLES"
	if s.In != "" {
		text += " IN " + QuoteName(s.In)
	}
	return text + printOptions(s.Options)
}

func (s *ChangeSchedule) String() string { return s.Verb + " SCHEDULE " + QuoteName(s.Name) }

func (s *BackfillSchedule) String() string {
	return "BACKFILL SCHEDULE " + QuoteName(s.Name) + " FROM " + quoteString(s.From) + " TO " + quoteString(s.To)
}

func (s *ShowSchedules) String() string {
	if s.One {
		return "SHOW SCHEDULE " + QuoteName(s.Name)
	}
	return "SHOW SCHEDULES"
}

func (s *ExplainSchedule) String() string { return "EXPLAIN SCHEDULE " + QuoteName(s.Name) }

// schedule reads the statements about schedules, or returns nil: it is another one.
func (p *parser) schedule() (Statement, error) {
	for _, verb := range []string{"CREATE", "PAUSE", "RESUME", "TRIGGER", "DROP", "BACKFILL"} {
		if !p.words(verb, "SCHEDULE") {
			continue
		}
		switch verb {
		case "CREATE":
			return p.createSchedule()
		case "BACKFILL":
			return p.backfillSchedule()
		}
		s := &ChangeSchedule{Verb: verb}
		var err error
		s.Name, s.NamePos, err = p.scheduleName()
		return s, err
	}
	for _, verb := range []string{"TRIGGER", "BACKFILL"} {
		if p.accept(verb) {
			return nil, p.fail("did you mean "+verb+" SCHEDULE name?", "SCHEDULE")
		}
	}
	return nil, nil
}

// scheduleName reads SCHEDULE's last letter on: the word is next, and then the name.
func (p *parser) scheduleName() (name string, pos int, err error) {
	p.advance()
	pos = p.pos()
	if p.tok.kind == tokString {
		return "", pos, p.fail("the name of a schedule stands without quotes, or in double ones", "a schedule name")
	}
	name, err = p.ident("a schedule name")
	return name, pos, err
}

func (p *parser) createSchedule() (Statement, error) {
	s := &CreateSchedule{}
	var err error
	if s.Name, s.NamePos, err = p.scheduleName(); err != nil {
		return nil, err
	}
	if !p.accept("FOR") {
		return nil, p.fail("for example: CREATE SCHEDULE "+QuoteName(clip(s.Name))+" FOR FLUSH TABLE schema.table EVERY '1 day'", "FOR")
	}
	s.ForPos = p.pos()
	if s.For, err = p.scheduled(); err != nil {
		return nil, err
	}
	if err := p.timing(s); err != nil {
		return nil, err
	}
	if s.Options, err = p.options(); err != nil {
		return nil, err
	}
	if !p.is("WHERE") {
		return s, p.scheduleEnd(s)
	}
	f, ok := s.For.(*FlushTable)
	if !ok {
		return nil, p.fail("a predicate belongs to one table: FOR FLUSH TABLE … WHERE", "the end of the statement")
	}
	p.advance()
	f.Where, err = p.predicate()
	return s, err
}

// scheduleEnd says what could still have come.
func (p *parser) scheduleEnd(s *CreateSchedule) error {
	if p.atEnd() {
		return nil
	}
	expected := afterOptions(s.Options)
	if _, ok := s.For.(*FlushTable); ok {
		expected = append([]string{"WHERE"}, expected...)
	}
	hint := ""
	switch {
	case p.is("TIME") && s.CronPos == 0:
		hint = "an interval is the same in every time zone; CRON takes one"
	case p.is("EVERY"), p.is("CRON"):
		hint = "a schedule has one timing: create another schedule"
	}
	return p.fail(hint, expected...)
}

// scheduled reads the statement that a schedule runs, but for its predicate.
func (p *parser) scheduled() (Statement, error) {
	p.accept("STORAGE")
	switch {
	case p.accept("FLUSH"):
		switch {
		case p.accept("TABLE"):
			return p.flushTableHead()
		case p.accept("ALL"):
			return p.flushAllHead()
		}
		return nil, p.fail("did you mean FLUSH TABLE schema.table?", "TABLE", "ALL")
	case p.accept("VERIFY"):
		return p.scheduledVerify()
	case p.accept("CLEANUP"):
		if p.is("OBJECT") {
			return nil, p.fail("an object is removed once; a schedule removes what failed attempts left", "WITH", "EVERY", "CRON")
		}
		s := &Cleanup{}
		var err error
		s.Options, err = p.options()
		return s, err
	}
	return nil, p.fail("a schedule runs one of these statements", "FLUSH TABLE", "FLUSH ALL", "VERIFY TABLE", "VERIFY ALL", "CLEANUP")
}

func (p *parser) scheduledVerify() (Statement, error) {
	if p.accept("TABLE") {
		name, err := p.name("VERIFY TABLE")
		if err != nil {
			return nil, err
		}
		s := &VerifyTable{Table: name}
		s.Options, err = p.options()
		return s, err
	}
	if !p.accept("ALL") {
		return nil, p.fail("did you mean VERIFY TABLE schema.table?", "TABLE", "ALL")
	}
	all, err := p.flushAllHead()
	if err != nil {
		return nil, err
	}
	return &VerifyAll{In: all.In, InPos: all.InPos, Options: all.Options}, nil
}

// timing reads EVERY '…', or CRON '…' [TIME ZONE '…'].
func (p *parser) timing(s *CreateSchedule) error {
	var err error
	switch {
	case p.accept("EVERY"):
		s.Every, s.EveryPos, err = p.constant("for example: EVERY '1 day'", "an interval in quotes")
		return err
	case p.accept("CRON"):
		typed := p.text(p.tok)
		if s.Cron, s.CronPos, err = p.constant("for example: CRON '0 3 * * *'", "a cron expression in quotes"); err != nil {
			return err
		}
		if typed == "'"+s.Cron+"'" {
			s.TextPos = s.CronPos + 1
		}
		if strings.TrimSpace(s.Cron) == "" {
			return &Error{Pos: s.CronPos, SQLState: InvalidParameter, Msg: "the cron expression is empty", Hint: "for example: CRON '0 3 * * *'"}
		}
		if !p.accept("TIME") {
			return nil
		}
		if err := p.expect("ZONE"); err != nil {
			return err
		}
		s.Zone, s.ZonePos, err = p.constant("for example: TIME ZONE 'Europe/Berlin'", "a time zone in quotes")
		if err == nil && strings.TrimSpace(s.Zone) == "" {
			err = &Error{Pos: s.ZonePos, SQLState: InvalidParameter, Msg: "the time zone is empty", Hint: "for example: TIME ZONE 'Europe/Berlin'"}
		}
		return err
	}
	hint := "say when: EVERY '1 day', or CRON '0 3 * * *' TIME ZONE 'Europe/Berlin'"
	switch {
	case p.is("WHERE"):
		hint = "the predicate comes last: … EVERY '1 day' WHERE …"
	case p.is("OLDER"):
		hint = "OLDER THAN comes right behind the table's name, and once"
	}
	return p.fail(hint, "EVERY", "CRON")
}

// constant reads '…'.
func (p *parser) constant(hint, what string) (string, int, error) {
	pos, value, ok := p.pos(), "", p.tok.kind == tokString
	if ok {
		value, ok = decodeString(p.text(p.tok), p.sc.backslash)
	}
	if !ok {
		return "", pos, p.fail(hint, what)
	}
	p.advance()
	return value, pos, nil
}

func (p *parser) backfillSchedule() (Statement, error) {
	s := &BackfillSchedule{}
	var err error
	if s.Name, s.NamePos, err = p.scheduleName(); err != nil {
		return nil, err
	}
	const hint = "for example: FROM '2026-03-01' TO '2026-03-02'"
	if !p.accept("FROM") {
		return nil, p.fail(hint, "FROM")
	}
	if s.From, s.FromPos, err = p.constant(hint, "a time in quotes"); err != nil {
		return nil, err
	}
	if !p.accept("TO") {
		return nil, p.fail(hint, "TO")
	}
	s.To, s.ToPos, err = p.constant(hint, "a time in quotes")
	return s, err
}
