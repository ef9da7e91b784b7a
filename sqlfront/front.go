package sqlfront

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// Catalog is what the ledger knows and jobs do not.
type Catalog interface {
	// RegisteredTables lists the tables that FLUSH ALL covers, in one namespace or, if it is "", in all.
	RegisteredTables(ctx context.Context, namespace string) ([]jobmanager.Table, error)
	// LiveSegments lists the segments that hold a table's cold rows now, oldest first.
	LiveSegments(ctx context.Context, table jobmanager.Table) ([]Segment, error)
	// WroteSegments reports whether a job has ever registered a segment, however long ago.
	WroteSegments(ctx context.Context, job jobmanager.JobID) (bool, error)
	// Space says what an ended flush did to the size of its table, if that was measured.
	Space(ctx context.Context, job jobmanager.JobID) (Space, bool, error)
	// Findings says what a VERIFY or a CLEANUP found so far.
	Findings(ctx context.Context, job jobmanager.JobID) (Findings, error)
	// Audit records a statement that starts, stops or changes jobs.
	Audit(ctx context.Context, entry AuditEntry) error
}

// Segment is a file of cold rows.
type Segment struct {
	ID            string
	JobID         string
	Leaf          string
	Location      string // URL
	Storage       string
	Rows          int64
	Bytes         int64
	SchemaVersion int64
	CreatedAt     time.Time
}

// AuditEntry is one audited statement.
type AuditEntry struct {
	User      string
	Statement string
	JobID     string // "" if none
	Outcome   string // "started", "existing", "no job", the status that the job was brought to, or the SQLSTATE of an error
}

// Options tune a Front; nil means defaults.
type Options struct {
	// Database is the one that this installation serves. Clients of other databases get an error for our statements.
	// "" serves whatever database the client chose.
	Database     string
	SystemSchema string        // default "system"
	LedgerSchema string        // default "spillway"
	Operator     string        // role whose members may work on every table; default "spillway_operator"
	UIPrefix     string        // of a workflow's page: <base>/namespaces/<namespace>/workflows/
	LiveLimit    int           // bytes of live jobs that one statement may read; default 1 MiB
	PollEvery    time.Duration // of a statement that waits for a job; default 250 ms
	Logger       *slog.Logger
	// Planner looks at tables before they are flushed. Without one, what cannot be flushed is found out by its job, and
	// there is no EXPLAIN FLUSH.
	Planner Planner
	// PredicateFunctions are functions of users that predicates may call, as PostgreSQL prints a regprocedure under an empty
	// search_path: app.is_stale(timestamp with time zone). They run with the worker's rights. Whoever may replace one, or may
	// create others in its schema, can do all that the worker may.
	PredicateFunctions []string
	// CheckRestore returns the first reason why a restore cannot be run, or nil, as Planner's Check does for a flush. Without it,
	// that is found out by the job.
	CheckRestore func(ctx context.Context, table jobmanager.Table, params map[string]string) (*Refusal, error)
	// Workers knows the workers. Without one, system.workers is an error.
	Workers Workers
	// Meter hears of statements, and Span traces them; nil: nobody does.
	Meter Meter
	Span  obs.StartSpan
	// Storages knows the storages. Without one, statements about them are errors.
	Storages Storages
	// Schedules knows the schedules. Without one, statements about them are errors, and so is system.schedules.
	Schedules Schedules
	// Policies knows the flush policies of tables. Without one, statements about them are errors, and a FLUSH has no defaults of them.
	Policies Policies
}

// Front interprets statements. It is the handler of a pgwire.Server.
type Front struct {
	jobs    jobmanager.JobManager
	catalog Catalog
	opt     Options
}

var _ pgwire.Handler = (*Front)(nil)

// New makes a Front.
func New(jobs jobmanager.JobManager, catalog Catalog, opt *Options) (*Front, error) {
	if jobs == nil || catalog == nil {
		return nil, errors.New("a job manager and a catalog are required")
	}
	return &Front{jobs: jobs, catalog: catalog, opt: opt.withDefaults()}, nil
}

func (o *Options) withDefaults() Options {
	var out Options
	if o != nil {
		out = *o
	}
	setDefault(&out.SystemSchema, "system")
	setDefault(&out.LedgerSchema, "spillway")
	setDefault(&out.Operator, "spillway_operator")
	if out.LiveLimit <= 0 {
		out.LiveLimit = 1 << 20
	}
	if out.PollEvery <= 0 {
		out.PollEvery = 250 * time.Millisecond
	}
	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}
	if out.Meter == nil {
		out.Meter = noMeter{}
	}
	if out.Span == nil {
		out.Span = obs.NoSpan
	}
	return out
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// Session implements pgwire.Handler.
func (f *Front) Session(info pgwire.Info) pgwire.Session { return &session{front: f, info: info} }

// session is one client's.
type session struct {
	front *Front
	info  pgwire.Info
	reads [3]bool // which of filled its statements have named
}

// Prepare implements pgwire.Session.
func (s *session) Prepare(text string, reading pgwire.Reading) (pgwire.Statement, error) {
	if !parse.Classify(text) {
		s.front.opt.Meter.Relayed()
		return nil, nil
	}
	tree, err := parse.Parse(text, &parse.Options{BackslashQuotes: reading.BackslashQuotes})
	if err != nil {
		return nil, sqlError(err, 0)
	}
	if want := s.front.opt.Database; want != "" && want != s.info.Database {
		return nil, &pgwire.Error{Code: codeNotSupported, Message: "this front-end serves the database \"" + want + "\", and not \"" + s.info.Database + "\"",
			Hint: "connect to " + want}
	}
	st := s.front.statement(tree, text)
	st.user = s.info.User
	return st, nil
}

// NearMiss implements pgwire.Session.
func (s *session) NearMiss(text string) string {
	if m := parse.NearMiss(text); m != "" {
		return "did you mean " + m + "?"
	}
	return ""
}

// statement pairs a tree with the function that runs it and the columns of its answer.
func (f *Front) statement(tree parse.Statement, text string) *statement {
	st := &statement{front: f, tree: tree, text: trim(text)}
	switch tree := tree.(type) {
	case *parse.FlushTable:
		st.columns, st.run = startColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.flushTable(ctx, tree) }
	case *parse.FlushAll:
		st.columns, st.run = startColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.flushAll(ctx, tree) }
	case *parse.RestoreTable:
		st.columns, st.run = startColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.restoreTable(ctx, tree) }
	case *parse.ExplainFlush:
		st.columns, st.run = explainColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.explain(ctx, tree) }
	case *parse.KillJob:
		st.columns, st.run = changeColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.kill(ctx, tree) }
	case *parse.PauseJob:
		st.columns, st.run = changeColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.pause(ctx, tree) }
	case *parse.ResumeJob:
		st.columns, st.run = changeColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.resume(ctx, tree) }
	case *parse.KillJobs:
		st.columns, st.run = killColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.killJobs(ctx, tree) }
	case *parse.ExplainKill:
		st.columns, st.run = explainKillColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.explainKill(ctx, tree) }
	case *parse.ShowJobs:
		st.columns, st.run = jobColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.showJobs(ctx) }
	case *parse.ShowJob:
		st.columns, st.run = jobColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.showJob(ctx, tree) }
	case *parse.VerifyTable:
		st.columns, st.run = startColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.verify(ctx, tree) }
	case *parse.Cleanup:
		st.columns, st.run = startColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.cleanup(ctx, tree) }
	case *parse.CreateStorage:
		st.columns, st.run = storageChangeColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.createStorage(ctx, tree) }
	case *parse.DropStorage:
		st.columns, st.run = storageChangeColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.dropStorage(ctx, tree) }
	case *parse.AdoptStorage:
		st.columns, st.run = storageChangeColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.adoptStorage(ctx, tree) }
	case *parse.ShowStorages:
		st.columns, st.run = storageColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.showStorages(ctx) }
	case *parse.CreateSchedule:
		st.columns, st.run = scheduleChangeColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.createSchedule(ctx, tree) }
	case *parse.ChangeSchedule:
		st.columns, st.run = scheduleChangeColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.changeSchedule(ctx, tree) }
	case *parse.BackfillSchedule:
		st.columns, st.run = scheduleChangeColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.backfillSchedule(ctx, tree) }
	case *parse.ShowSchedules:
		st.columns, st.run = scheduleColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.showSchedules(ctx, tree) }
	case *parse.ExplainSchedule:
		st.columns, st.run = explainScheduleColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.explainSchedule(ctx, tree) }
	case *parse.SetPolicy:
		st.columns, st.run = policyChangeColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.setPolicy(ctx, tree) }
	case *parse.ChangePolicy:
		st.columns, st.run = policyChangeColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.changePolicy(ctx, tree) }
	case *parse.ShowPolicies:
		st.columns, st.run = policyColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.showPolicies(ctx) }
	case *parse.ShowPolicy:
		st.columns, st.run = policyColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.showPolicy(ctx, tree) }
	case *parse.ShowColdTable:
		st.columns, st.run = segmentColumns, func(ctx context.Context, r *request) ([][]any, error) { return r.showCold(ctx, tree) }
	}
	return st
}

// statement implements pgwire.Statement.
type statement struct {
	front   *Front
	tree    parse.Statement
	text    string
	user    string // who logged in
	columns []pgwire.Column
	run     func(context.Context, *request) ([][]any, error)
}

// request is one run of a statement.
type request struct {
	*Front
	up       pgwire.Upstream
	text     string // of the statement, as typed
	user     string // who logged in
	args     []*string
	notice   func(pgwire.Notice)
	deed     string // what it does to a table: flushed, restored
	repeated bool   // what it asks for is done again and again, later
	reads    bool   // it changes nothing, and is not audited
	told     bool   // something was audited
}

// deedOf says what a statement does to a table.
func deedOf(tree parse.Statement) string {
	if _, ok := tree.(*parse.RestoreTable); ok {
		return "restored"
	}
	return "flushed"
}

// verb is the statement's first word.
func (r *request) verb() string {
	if r.deed == "restored" {
		return "RESTORE"
	}
	return "FLUSH"
}

func (st *statement) Params() int              { return parse.Params(st.tree) }
func (st *statement) Columns() []pgwire.Column { return st.columns }

func (st *statement) Run(ctx context.Context, up pgwire.Upstream, args []*string, notice func(pgwire.Notice)) (*pgwire.Result, error) {
	if st.run == nil {
		return nil, &pgwire.Error{Code: codeNotSupported, Message: st.tree.Tag() + " is not supported yet"}
	}
	ctx, end := st.front.measured(ctx, st.tree.Tag())
	r := &request{Front: st.front, up: up, text: st.text, user: st.user, args: args, notice: notice, deed: deedOf(st.tree), reads: !audited(st.tree)}
	rows, err := st.run(ctx, r)
	if err != nil {
		r.auditRest(ctx, err)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		answer := sqlError(err, 0)
		end(answer.Code)
		return nil, answer
	}
	end("")
	return &pgwire.Result{Rows: rows, Tag: st.tree.Tag()}, nil
}
