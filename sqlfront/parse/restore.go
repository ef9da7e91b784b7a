package parse

// RestoreTable is RESTORE TABLE name [FROM JOB 'id'] [WITH (…)] [WHERE …].
type RestoreTable struct {
	Table   Name
	Job     *JobRef // nil: the segments of all jobs
	Options []Option
	Where   *Predicate // nil: every row
}

func (*RestoreTable) statement() {}

// Tag implements Statement.
func (*RestoreTable) Tag() string { return "RESTORE" }

func (s *RestoreTable) String() string {
	text := "RESTORE TABLE " + s.Table.String()
	if s.Job != nil {
		text += " FROM JOB " + s.Job.String()
	}
	text += printOptions(s.Options)
	if s.Where != nil {
		text += " WHERE " + s.Where.Text
	}
	return text
}

// restore reads a RESTORE TABLE.
func (p *parser) restore() (Statement, error) {
	p.advance()
	if !p.accept("TABLE") {
		return nil, p.fail("did you mean RESTORE TABLE schema.table?", "TABLE")
	}
	s := &RestoreTable{}
	var err error
	if s.Table, err = p.name("RESTORE TABLE"); err != nil {
		return nil, err
	}
	if p.accept("FROM") {
		job, err := p.theJob("RESTORE TABLE … FROM", "JOB")
		if err != nil {
			return nil, err
		}
		s.Job = &job
	}
	if s.Options, err = p.options(); err != nil {
		return nil, err
	}
	if p.accept("WHERE") {
		s.Where, err = p.predicate()
		return s, err
	}
	if p.atEnd() {
		return s, nil
	}
	hint, next := "", []string{"WHERE", "the end of the statement"}
	if s.Options == nil {
		next = append([]string{"WITH"}, next...)
		if s.Job == nil {
			next = append([]string{"FROM JOB"}, next...)
		}
	}
	switch {
	case p.is("WITH"):
		hint = "there can be only one WITH list"
	case p.is("OLDER"):
		hint = "a condition on the age of rows is a predicate here: WHERE created_at >= '2026-01-01'"
	case p.is("FROM"):
		hint = "FROM JOB comes right behind the table's name, and once"
	}
	return nil, p.fail(hint, next...)
}
