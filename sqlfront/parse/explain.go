package parse

// ExplainFlush is EXPLAIN FLUSH TABLE …: what such a flush would do. It moves nothing.
type ExplainFlush struct{ Flush *FlushTable }

func (*ExplainFlush) statement() {}

// Tag implements Statement.
func (*ExplainFlush) Tag() string { return "EXPLAIN" }

func (s *ExplainFlush) String() string { return "EXPLAIN " + s.Flush.String() }

// explain reads EXPLAIN [STORAGE] FLUSH TABLE … and EXPLAIN KILL JOBS ….
func (p *parser) explain() (Statement, error) {
	p.advance()
	if p.is("KILL") || p.is("CANCEL") {
		return p.explainKill()
	}
	if p.is("SCHEDULE") {
		s := &ExplainSchedule{}
		var err error
		s.Name, s.NamePos, err = p.scheduleName()
		return s, err
	}
	if p.is("FLUSH") || p.accept("STORAGE") {
		return p.explainFlush()
	}
	return nil, p.fail("", "FLUSH TABLE", "KILL JOBS", "SCHEDULE")
}

// explainFlush reads [EXPLAIN] FLUSH TABLE ….
func (p *parser) explainFlush() (Statement, error) {
	if err := p.expect("FLUSH"); err != nil {
		return nil, err
	}
	if !p.accept("TABLE") {
		return nil, p.fail("each table is looked at by itself: EXPLAIN FLUSH TABLE schema.table", "TABLE")
	}
	flush, err := p.flushTable()
	if err != nil {
		return nil, err
	}
	return &ExplainFlush{Flush: flush}, nil
}

func (s *ShowJob) String() string {
	text := "SHOW JOB " + s.Job.String()
	if s.WhenComplete {
		text += " WHEN COMPLETE"
	}
	return text
}

// whenComplete reads [WHEN COMPLETE].
func (p *parser) whenComplete() (bool, error) {
	if !p.accept("WHEN") {
		return false, nil
	}
	return true, p.expect("COMPLETE")
}
