package parse

import (
	"strconv"
	"strings"
)

// Statement is one of our statements. String parses back to the same tree, positions aside.
type Statement interface {
	String() string
	// Tag is the command tag of the answer, without a count: "FLUSH", "KILL JOB", "SHOW".
	Tag() string
	statement()
}

// Name is a table's qualified name as the catalog spells it.
type Name struct {
	Schema, Table string
	Pos           int // of its first character
}

func (n Name) String() string { return QuoteName(n.Schema) + "." + QuoteName(n.Table) }

// Option is one name = value of a WITH list. An option without a value has the value "true". The value of a list, (a, "B"), is the
// text of its names with ", " between them, in quotes where a name needs them.
type Option struct {
	Name, Value   string
	List          []ListItem // of name = (item, …); Value is then its items, joined by ", "
	Pos, ValuePos int
	TextPos       int // of the first character inside a string constant's quotes; 0: the value is not there as it reads
}

// Predicate is the text behind WHERE, up to the end of the statement and exactly as typed.
type Predicate struct {
	Text string
	Pos  int // of its first character
}

// JobRef names a job: by its id, or by a parameter that a driver sends.
type JobRef struct {
	ID    string
	Param int // 1 for $1; 0: ID is set
	Pos   int
}

func (r JobRef) String() string {
	if r.Param > 0 {
		return "$" + strconv.Itoa(r.Param)
	}
	return quoteString(r.ID)
}

// FlushTable is FLUSH TABLE name [OLDER THAN …] [WITH (…)] [WHERE …].
type FlushTable struct {
	Table   Name
	Age     *Age // nil: of any age
	Options []Option
	Where   *Predicate // nil: every row
}

// FlushAll is FLUSH ALL [TABLES] [IN namespace] [WITH (…)].
type FlushAll struct {
	In      string // a schema, or "" for all
	InPos   int
	Options []Option
}

// KillJob is KILL JOB 'id'; CANCEL JOB is the same.
type KillJob struct{ Job JobRef }

// PauseJob is PAUSE JOB 'id'.
type PauseJob struct{ Job JobRef }

// ResumeJob is RESUME JOB 'id'.
type ResumeJob struct{ Job JobRef }

// ShowJobs is SHOW JOBS: the active ones.
type ShowJobs struct{}

// ShowJob is SHOW JOB 'id' [WHEN COMPLETE].
type ShowJob struct {
	Job          JobRef
	WhenComplete bool // answer when the job has ended
}

// ShowColdTable is SHOW COLD TABLE name.
type ShowColdTable struct{ Table Name }

func (*FlushTable) statement()    {}
func (*FlushAll) statement()      {}
func (*KillJob) statement()       {}
func (*PauseJob) statement()      {}
func (*ResumeJob) statement()     {}
func (*ShowJobs) statement()      {}
func (*ShowJob) statement()       {}
func (*ShowColdTable) statement() {}

// Tag implements Statement.
func (*FlushTable) Tag() string { return "FLUSH" }

// Tag implements Statement.
func (*FlushAll) Tag() string { return "FLUSH" }

// Tag implements Statement.
func (*KillJob) Tag() string { return "KILL JOB" }

// Tag implements Statement.
func (*PauseJob) Tag() string { return "PAUSE JOB" }

// Tag implements Statement.
func (*ResumeJob) Tag() string { return "RESUME JOB" }

// Tag implements Statement.
func (*ShowJobs) Tag() string { return "SHOW" }

// Tag implements Statement.
func (*ShowJob) Tag() string { return "SHOW" }

// Tag implements Statement.
func (*ShowColdTable) Tag() string { return "SHOW" }

func (s *FlushTable) String() string {
	text := "FLUSH TABLE " + s.Table.String() + s.Age.String() + printOptions(s.Options)
	if s.Where != nil {
		text += " WHERE " + s.Where.Text
	}
	return text
}

func (s *FlushAll) String() string {
	text := "FLUSH ALL TABLES"
	if s.In != "" {
		text += " IN " + QuoteName(s.In)
	}
	return text + printOptions(s.Options)
}

func (s *KillJob) String() string       { return "KILL JOB " + s.Job.String() }
func (s *PauseJob) String() string      { return "PAUSE JOB " + s.Job.String() }
func (s *ResumeJob) String() string     { return "RESUME JOB " + s.Job.String() }
func (s *ShowJobs) String() string      { return "SHOW JOBS" }
func (s *ShowColdTable) String() string { return "SHOW COLD TABLE " + s.Table.String() }

func printOptions(opts []Option) string {
	if len(opts) == 0 {
		return ""
	}
	parts := make([]string, len(opts))
	for i, o := range opts {
		value := o.Value
		switch {
		case o.List != nil:
			value = "(" + value + ")"
		case !isPlainName(value) && !isNumber(value):
			value = quoteString(value)
		}
		parts[i] = QuoteName(o.Name) + " = " + value
	}
	return " WITH (" + strings.Join(parts, ", ") + ")"
}

// isNumber reports whether the parser reads s back as one unsigned or negative number.
func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	if s == "" || !isDigit(s[0]) {
		return false
	}
	t := newScanner(s, nil).next()
	return t.kind == tokNumber && t.end == len(s)
}

// Params returns how many parameters a statement takes; all are of type text.
func Params(s Statement) int {
	switch s := s.(type) {
	case *KillJob:
		return s.Job.Param
	case *PauseJob:
		return s.Job.Param
	case *RestoreTable:
		if s.Job != nil {
			return s.Job.Param
		}
	case *ResumeJob:
		return s.Job.Param
	case *ShowJob:
		return s.Job.Param
	}
	return 0
}
