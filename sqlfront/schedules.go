package sqlfront

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// Schedules knows what is done at set times. Its errors may be *ScheduleError.
type Schedules interface {
	Create(ctx context.Context, spec ScheduleSpec) error
	// Role returns the role whose rights the runs of a schedule need.
	Role(ctx context.Context, name string) (string, error)
	// Schedule returns one with all that is known of it, and its next times.
	Schedule(ctx context.Context, name string) (Schedule, error)
	// Schedules lists them by name.
	Schedules(ctx context.Context) ([]Schedule, error)
	SetPaused(ctx context.Context, name string, paused bool, by string) error
	Trigger(ctx context.Context, name string) error
	// Backfill runs a schedule once for each of its times in a span.
	Backfill(ctx context.Context, name string, from, to time.Time) error
	Drop(ctx context.Context, name string) error
}

// ScheduleSpec is a schedule as a statement describes it.
type ScheduleSpec struct {
	Name         string
	Statement    string // as typed
	JobStatement string // what it runs
	JobType      jobmanager.JobType
	Table        jobmanager.Table // the zero one: many, or none
	Namespace    string           // of many tables; "": all
	Params       map[string]string

	Every          string // an interval; "": Cron is set
	EverySeconds   int64
	Cron, Zone     string
	JitterSeconds  int64
	CatchupSeconds int64
	Overlap        string
	PauseOnFailure bool
	Paused         bool

	User string // who had logged in
	Role string // who acts: whose rights its runs need
}

// Schedule is one row of SHOW SCHEDULES. The view system.schedules has the same columns, but for the last two.
type Schedule struct {
	Name, Statement, JobType, Target, Every, Cron, Zone, Jitter, Overlap, Catchup string
	PauseOnFailure                                                                bool
	Status, Note                                                                  string
	Next                                                                          []time.Time // empty: it is paused, or never
	LastRunAt, LastEndedAt                                                        *time.Time
	LastStatus, LastJobID, LastError                                              string
	Runs                                                                          int64
	CreatedBy                                                                     string
	CreatedAt                                                                     time.Time
	PausedAt                                                                      *time.Time
	PausedBy, TemporalID                                                          string
	Missed, Skipped                                                               *int64 // nil: not asked for
}

// ScheduleError is what is wrong with a schedule.
type ScheduleError struct {
	Code, Msg, Hint string
	Timing          bool // the interval or the cron expression is to blame, and not the name
}

func (e *ScheduleError) Error() string { return e.Msg }

const (
	// maxScheduleName is the longest name, as of everything in PostgreSQL, in bytes.
	maxScheduleName = 63
	// maxEvery keeps an interval within what is a schedule.
	maxEvery = 10 * 366 * 24 * time.Hour
	// defaultCatchup is how late a run may begin, in seconds: a machine that was off for the night makes up for it.
	defaultCatchup = 24 * 60 * 60
)

var (
	// of the statements that change a schedule
	scheduleChangeColumns = []pgwire.Column{text("schedule"), text("status")}

	// of SHOW SCHEDULES: those of system.schedules, then two that only SHOW SCHEDULE name fills
	scheduleColumns = []pgwire.Column{
		text("name"), text("statement"), text("job_type"), text("target"), text("every"), text("cron"), text("time_zone"), text("jitter"), text("overlap"),
		{Name: "pause_on_failure", Type: pgwire.Bool}, text("catchup_window"), text("status"), text("note"), moment("next_run_at"), moment("last_run_at"),
		moment("last_ended_at"), text("last_status"), text("last_job_id"), text("last_error"), count("runs"), text("created_by"), moment("created_at"), moment("paused_at"),
		text("paused_by"), text("ui_url"), count("missed"), count("skipped"),
	}

	// of EXPLAIN SCHEDULE: one row per time; local is the time in the schedule's zone
	explainScheduleColumns = []pgwire.Column{count("n"), moment("at"), text("local"), text("time_zone")}
)

// scheduleOptions are those of a schedule itself.
var scheduleOptions = []option{
	{"overlap", oneOf("skip", "buffer_one", "allow")}, {"jitter", anything}, {"pause_on_failure", boolean}, {"catchup_window", anything}, {"paused", boolean},
}

func (r *request) noSchedules() error {
	if r.opt.Schedules == nil {
		return &pgwire.Error{Code: codeNotSupported, Message: "this front-end knows no schedules"}
	}
	return nil
}

// createSchedule runs CREATE SCHEDULE. It acts at once, also inside a transaction.
func (r *request) createSchedule(ctx context.Context, s *parse.CreateSchedule) ([][]any, error) {
	if err := r.noSchedules(); err != nil {
		return nil, err
	}
	spec := ScheduleSpec{Name: s.Name, Statement: r.text, JobStatement: s.For.String()}
	a, err := r.readSchedule(ctx, s, &spec)
	if err == nil {
		err = r.up.Release()
	}
	if err == nil {
		spec.User, spec.Role = a.user, a.role
		err = scheduleError(r.opt.Schedules.Create(ctx, spec), s)
	}
	if err != nil {
		r.auditError(ctx, a, err, s.NamePos)
		return nil, sqlError(err, s.NamePos)
	}
	r.audit(ctx, a, "", "created")
	status := "active"
	if spec.Paused {
		status = "paused"
	}
	return [][]any{{s.Name, status}}, nil
}

// scheduleError puts an error at its place in the statement.
func scheduleError(err error, s *parse.CreateSchedule) error {
	var e *ScheduleError
	if !errors.As(err, &e) {
		return err
	}
	out := &pgwire.Error{Code: e.Code, Message: e.Msg, Hint: e.Hint, Position: s.NamePos}
	if e.Timing {
		out.Position = max(s.EveryPos, s.CronPos)
	}
	return out
}

// readSchedule checks all that a CREATE SCHEDULE asks for.
func (r *request) readSchedule(ctx context.Context, s *parse.CreateSchedule, spec *ScheduleSpec) (actor, error) {
	if s.Name == "" || len(s.Name) > maxScheduleName {
		return actor{}, &pgwire.Error{Code: codeInvalidValue, Position: s.NamePos, Message: "the name of a schedule has 1 to 63 bytes"}
	}
	if err := r.readTiming(ctx, s, spec); err != nil {
		return actor{}, err
	}
	r.repeated = true
	return r.readScheduled(ctx, s, spec)
}

// readTiming reads when.
func (r *request) readTiming(ctx context.Context, s *parse.CreateSchedule, spec *ScheduleSpec) error {
	given, err := readOptionsOf(scheduleOptions, s.Options)
	if err != nil {
		return err
	}
	spec.Overlap, spec.PauseOnFailure, spec.Paused = "skip", given["pause_on_failure"] != "", given["paused"] != ""
	if given["overlap"] != "" {
		spec.Overlap = given["overlap"]
	}
	if s.Cron == "" {
		spec.Every, spec.EverySeconds, err = r.seconds(ctx, "EVERY", s.Every, s.EveryPos, time.Second, maxEvery)
	} else {
		err = readCron(s, spec)
	}
	if err != nil {
		return err
	}
	spec.CatchupSeconds = defaultCatchup
	for _, o := range s.Options {
		switch {
		case o.Name == "jitter":
			most := maxEvery
			if spec.EverySeconds > 0 {
				most = time.Duration(spec.EverySeconds) * time.Second
			}
			if _, spec.JitterSeconds, err = r.seconds(ctx, "jitter", o.Value, o.ValuePos, 0, most); err != nil {
				return err
			}
		case o.Name == "catchup_window":
			if _, spec.CatchupSeconds, err = r.seconds(ctx, "catchup_window", o.Value, o.ValuePos, 10*time.Second, maxEvery); err != nil {
				return err
			}
		}
	}
	return nil
}

func readCron(s *parse.CreateSchedule, spec *ScheduleSpec) error {
	err := checkCron(s.Cron, time.Now())
	var e *cronError
	if errors.As(err, &e) {
		out := &pgwire.Error{Code: codeInvalidValue, Message: e.msg, Hint: e.hint, Position: s.CronPos}
		if s.TextPos > 0 {
			out.Position = s.TextPos + e.at
		}
		return out
	}
	spec.Cron, spec.Zone = strings.TrimSpace(s.Cron), s.Zone
	_, err = checkZone(s.Zone, s.ZonePos)
	return err
}

// seconds lets PostgreSQL read a length of time that is the same everywhere, and returns it as it prints it.
func (r *request) seconds(ctx context.Context, what, value string, pos int, least, most time.Duration) (string, int64, error) {
	var printed string
	var n int64
	err := r.pinned(ctx, func() error {
		rows, err := r.up.Query(ctx, `SELECT extract(year FROM i) * 12 + extract(month FROM i), extract(epoch FROM i), i::text, isfinite(i) FROM (SELECT $1::interval AS i) AS x`, value)
		var e *pgwire.Error
		if errors.As(err, &e) && strings.HasPrefix(e.Code, "22") {
			moved := *e
			moved.Position, moved.Hint = pos, "for example: '10 minutes', '1 day'"
			return &moved
		}
		if err != nil {
			return err
		}
		bad := func(hint, format string, args ...any) error {
			return &pgwire.Error{Code: codeInvalidValue, Position: pos, Hint: hint, Message: fmt.Sprintf("invalid value for %s: ", what) + fmt.Sprintf(format, args...)}
		}
		v := rows[0]
		months, secs := str(v[0]), 0.0
		if str(v[3]) == "t" {
			if secs, err = strconv.ParseFloat(str(v[1]), 64); err != nil {
				return err
			}
		}
		switch {
		case str(v[3]) != "t":
			return bad("", "interval \"%s\" is infinite", value)
		case strings.Trim(months, "-0.") != "":
			return bad("a month is not always as long; a calendar has them: CRON '0 3 1 * *'", "interval \"%s\" counts months or years", value)
		case secs != math.Trunc(secs):
			return bad("", "interval \"%s\" is no whole number of seconds", value)
		case secs < least.Seconds():
			return bad("", "interval \"%s\" is less than %d s", value, int64(least.Seconds()))
		case secs > most.Seconds():
			return bad("", "interval \"%s\" is more than %d s", value, int64(most.Seconds()))
		}
		printed, n = str(v[2]), int64(secs)
		return nil
	})
	return printed, n, err
}

// readScheduled checks the statement inside exactly as if it were given by itself.
func (r *request) readScheduled(ctx context.Context, s *parse.CreateSchedule, spec *ScheduleSpec) (actor, error) {
	switch inner := s.For.(type) {
	case *parse.FlushTable:
		return r.scheduleFlush(ctx, inner, spec)
	case *parse.VerifyTable:
		params, err := readOptionsOf(verifyOptions, inner.Options, "wait")
		if err != nil {
			return actor{}, err
		}
		spec.JobType, spec.Params, spec.Table = jobVerify, params, jobmanager.Table{Namespace: inner.Table.Schema, Name: inner.Table.Table}
		t, err := r.look(ctx, spec.Table)
		if err == nil {
			err = r.verifiable(ctx, t, inner.Table.Pos)
		}
		return t.actor, err
	case *parse.FlushAll:
		spec.JobType = jobFlush
		return r.scheduleMany(ctx, s, spec, flushOptions, inner.Options, inner.In, inner.InPos, "wait", "as_text")
	case *parse.VerifyAll:
		spec.JobType = jobVerify
		return r.scheduleMany(ctx, s, spec, verifyOptions, inner.Options, inner.In, inner.InPos, "wait")
	case *parse.Cleanup:
		spec.JobType = jobCleanup
		return r.scheduleMany(ctx, s, spec, cleanupOptions, inner.Options, "", 0, "wait")
	}
	return actor{}, &pgwire.Error{Code: codeNotSupported, Position: s.ForPos, Message: "a schedule cannot run " + s.For.Tag()}
}

func (r *request) scheduleFlush(ctx context.Context, inner *parse.FlushTable, spec *ScheduleSpec) (actor, error) {
	params, err := readOptions(inner.Options, "wait", "unregistered")
	if err != nil {
		return actor{}, err
	}
	t, err := r.resolve(ctx, inner.Table)
	if err == nil {
		err = mayFireTriggers(t.actor, params)
	}
	if err == nil {
		err = r.readRows(ctx, t, inner, params)
	}
	if err == nil {
		err = r.up.Release()
	}
	if err == nil {
		err = r.refuse(ctx, t, params, inner.Table.Pos)
	}
	spec.JobType, spec.Params, spec.Table = jobFlush, params, t.table
	if err != nil {
		return t.actor, sqlError(err, blame(err, inner.Options, inner.Table.Pos))
	}
	return t.actor, nil
}

// scheduleMany checks a statement that works on many tables, or on none: it takes who may work on tables of others.
func (r *request) scheduleMany(ctx context.Context, s *parse.CreateSchedule, spec *ScheduleSpec, known []option, list []parse.Option, in string, inPos int, without ...string) (actor, error) {
	params, err := readOptionsOf(known, list, without...)
	if err != nil {
		return actor{}, err
	}
	spec.Params, spec.Namespace = params, in
	t, err := r.look(ctx, jobmanager.Table{})
	switch {
	case err != nil:
		return t.actor, err
	case !t.anywhere():
		return t.actor, &pgwire.Error{Code: codePrivilege, Position: s.ForPos, Message: "permission denied to schedule what is not about one table",
			Hint: "it takes a superuser, or a member of the role " + r.opt.Operator + "; an owner schedules FLUSH TABLE and VERIFY TABLE"}
	case params["unregistered"] != "" && in == "":
		return t.actor, &pgwire.Error{Code: codeInvalidValue, Position: s.ForPos, Message: "unregistered = true needs IN schema",
			Hint: "FLUSH ALL TABLES IN app WITH (unregistered = true)"}
	case in == "":
		return t.actor, nil
	case r.reserved(in) && spec.JobType == jobFlush:
		return t.actor, &pgwire.Error{Code: codePrivilege, Position: inPos, Message: fmt.Sprintf("tables of the schema \"%s\" cannot be flushed", in)}
	}
	return t.actor, r.pinned(ctx, func() error {
		rows, err := r.up.Query(ctx, `SELECT 1 FROM pg_namespace WHERE nspname = $1::text`, in)
		if err == nil && len(rows) == 0 {
			err = &pgwire.Error{Code: "3F000", Position: inPos, Message: fmt.Sprintf("schema \"%s\" does not exist", in)}
		}
		return err
	})
}

// mayChangeSchedule refuses those who may not pause, resume, trigger or drop a schedule.
func (r *request) mayChangeSchedule(ctx context.Context, name string, pos int) (actor, error) {
	if err := r.noSchedules(); err != nil {
		return actor{}, err
	}
	t, err := r.look(ctx, jobmanager.Table{})
	if err != nil {
		return t.actor, err
	}
	if err := r.up.Release(); err != nil {
		return t.actor, err
	}
	at := &parse.CreateSchedule{NamePos: pos}
	role, err := r.opt.Schedules.Role(ctx, name)
	if err != nil || t.anywhere() || role == t.role {
		return t.actor, scheduleError(err, at)
	}
	may := false
	err = r.pinned(ctx, func() error {
		rows, err := r.up.Query(ctx, `SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = $1::text`, role)
		may = err == nil && len(rows) == 1 && str(rows[0][0]) == "t"
		return err
	})
	if err == nil && !may {
		err = &pgwire.Error{Code: codePrivilege, Position: pos, Message: fmt.Sprintf("must be owner of schedule %s", name),
			Hint: fmt.Sprintf("it takes the role \"%s\", a superuser, or a member of the role %s", role, r.opt.Operator)}
	}
	if err == nil {
		err = r.up.Release()
	}
	return t.actor, err
}

// alterSchedule runs one of the statements that change a schedule. It acts at once, also inside a transaction.
func (r *request) alterSchedule(ctx context.Context, name string, pos int, done string, change func(actor) error) ([][]any, error) {
	a, err := r.mayChangeSchedule(ctx, name, pos)
	if err == nil {
		err = scheduleError(change(a), &parse.CreateSchedule{NamePos: pos})
	}
	if err != nil {
		r.auditError(ctx, a, err, pos)
		return nil, sqlError(err, pos)
	}
	r.audit(ctx, a, "", done)
	return [][]any{{name, done}}, nil
}

func (r *request) changeSchedule(ctx context.Context, s *parse.ChangeSchedule) ([][]any, error) {
	done := map[string]string{"PAUSE": "paused", "RESUME": "active", "TRIGGER": "triggered", "DROP": "dropped"}[s.Verb]
	return r.alterSchedule(ctx, s.Name, s.NamePos, done, func(a actor) error {
		switch s.Verb {
		case "TRIGGER":
			return r.opt.Schedules.Trigger(ctx, s.Name)
		case "DROP":
			return r.opt.Schedules.Drop(ctx, s.Name)
		}
		return r.opt.Schedules.SetPaused(ctx, s.Name, s.Verb == "PAUSE", a.String())
	})
}

func (r *request) backfillSchedule(ctx context.Context, s *parse.BackfillSchedule) ([][]any, error) {
	var from, to, now time.Time
	err := r.pinned(ctx, func() error {
		for _, m := range []struct {
			text string
			pos  int
			to   *time.Time
		}{{s.From, s.FromPos, &from}, {s.To, s.ToPos, &to}, {"now", 0, &now}} {
			rows, err := r.up.Query(ctx, `SELECT extract(epoch FROM t), isfinite(t) FROM (SELECT $1::timestamptz AS t) AS x`, m.text)
			var e *pgwire.Error
			if errors.As(err, &e) && strings.HasPrefix(e.Code, "22") {
				moved := *e
				moved.Position = m.pos
				return &moved
			}
			if err != nil {
				return err
			}
			if str(rows[0][1]) != "t" {
				return &pgwire.Error{Code: codeInvalidValue, Position: m.pos, Message: fmt.Sprintf("time \"%s\" is infinite", m.text)}
			}
			secs, err := strconv.ParseFloat(str(rows[0][0]), 64)
			if err != nil {
				return err
			}
			*m.to = time.UnixMicro(int64(math.Round(secs * 1e6)))
		}
		return nil
	})
	switch {
	case err != nil:
	case to.Before(from):
		err = &pgwire.Error{Code: codeInvalidValue, Position: s.ToPos, Message: "the span ends before it begins"}
	case to.After(now):
		err = &pgwire.Error{Code: codeInvalidValue, Position: s.ToPos, Message: "the span ends in the future", Hint: "a backfill makes up for times that have passed"}
	case from.Year() < 1970:
		err = &pgwire.Error{Code: codeInvalidValue, Position: s.FromPos, Message: "the span begins before 1970"}
	}
	if err != nil {
		return nil, err
	}
	return r.alterSchedule(ctx, s.Name, s.NamePos, "backfilled", func(actor) error {
		return r.opt.Schedules.Backfill(ctx, s.Name, from, to)
	})
}

// mayReadSchedules refuses those who may not read the view.
func (r *request) mayReadSchedules(ctx context.Context) error {
	ok, err := r.mayRead(ctx, viewSchedules)
	if err != nil {
		return err
	}
	if !ok {
		return &pgwire.Error{Code: codePrivilege, Message: "permission denied for view schedules",
			Hint: fmt.Sprintf("GRANT USAGE ON SCHEMA %[1]s TO …; GRANT SELECT ON %[1]s.schedules TO …", parse.QuoteName(r.opt.SystemSchema))}
	}
	if err := r.noSchedules(); err != nil {
		return err
	}
	return r.up.Release()
}

func (r *request) showSchedules(ctx context.Context, s *parse.ShowSchedules) ([][]any, error) {
	if err := r.mayReadSchedules(ctx); err != nil {
		return nil, err
	}
	var list []Schedule
	if s.One {
		one, err := r.opt.Schedules.Schedule(ctx, s.Name)
		if err != nil {
			return nil, scheduleError(err, &parse.CreateSchedule{NamePos: s.NamePos})
		}
		list = []Schedule{one}
	} else {
		var err error
		if list, err = r.opt.Schedules.Schedules(ctx); err != nil {
			return nil, err
		}
	}
	rows := make([][]any, len(list))
	for i, s := range list {
		rows[i] = r.scheduleRow(s)
	}
	return rows, nil
}

func (r *request) scheduleRow(s Schedule) []any {
	var next any
	if len(s.Next) > 0 && s.Status != "paused" {
		next = s.Next[0]
	}
	return []any{
		s.Name, s.Statement, s.JobType, known(s.Target), known(s.Every), known(s.Cron), known(s.Zone), s.Jitter, s.Overlap, s.PauseOnFailure, s.Catchup, s.Status, known(s.Note), next,
		instant(s.LastRunAt), instant(s.LastEndedAt), known(s.LastStatus), known(s.LastJobID), known(s.LastError), s.Runs, s.CreatedBy, s.CreatedAt, instant(s.PausedAt),
		known(s.PausedBy), known(r.scheduleURL(s.TemporalID)), number(s.Missed), number(s.Skipped),
	}
}

// scheduleURL is the address of a schedule's page in the Web UI.
func (r *request) scheduleURL(id string) string {
	base, ok := strings.CutSuffix(r.opt.UIPrefix, "workflows/")
	if !ok || id == "" {
		return ""
	}
	return base + "schedules/" + strings.NewReplacer("%", "%25", "/", "%2F").Replace(id)
}

// explainSchedule says when a schedule runs next.
func (r *request) explainSchedule(ctx context.Context, s *parse.ExplainSchedule) ([][]any, error) {
	if err := r.mayReadSchedules(ctx); err != nil {
		return nil, err
	}
	one, err := r.opt.Schedules.Schedule(ctx, s.Name)
	if err != nil {
		return nil, scheduleError(err, &parse.CreateSchedule{NamePos: s.NamePos})
	}
	zone := one.Zone
	if zone == "" {
		zone = "UTC"
	}
	loc, err := checkZone(zone, 0)
	if err != nil {
		return nil, err
	}
	if one.Status == "paused" {
		r.notice(pgwire.Notice{Message: fmt.Sprintf("schedule \"%s\" is paused: these are the times at which it would run", s.Name)})
	}
	rows := make([][]any, min(len(one.Next), 10))
	for i := range rows {
		rows[i] = []any{int64(i + 1), one.Next[i], one.Next[i].In(loc).Format("2006-01-02 15:04:05 MST"), zone}
	}
	return slices.Clip(rows), nil
}

// liveSchedules renders what the ledger does not know of the schedules as a JSON array. It is short: the view adds the rest.
func (f *Front) liveSchedules(ctx context.Context, _ *parse.Narrowing) (string, error) {
	if f.opt.Schedules == nil {
		return "", &pgwire.Error{Code: codeNotSupported, Message: fmt.Sprintf("%s.schedules is not available on this front-end", f.opt.SystemSchema)}
	}
	list, err := f.opt.Schedules.Schedules(ctx)
	if err != nil {
		return "", err
	}
	type row struct {
		Name   string `json:"n"`
		Paused bool   `json:"p,omitempty"`
		Note   string `json:"o,omitempty"`
		Next   int64  `json:"t,omitempty"`
	}
	rows := make([]row, 0, len(list))
	for _, s := range list {
		if s.Status == "creating" {
			continue // Temporal does not know it
		}
		one := row{Name: s.Name, Paused: s.Status == "paused", Note: strings.ReplaceAll(s.Note, "\x00", "")}
		if len(s.Next) > 0 {
			one.Next = s.Next[0].Unix()
		}
		rows = append(rows, one)
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return "", fmt.Errorf("render schedules: %w", err)
	}
	if len(text) > f.opt.LiveLimit {
		return "", &pgwire.Error{Code: codeTooLarge, Message: fmt.Sprintf("%d schedules do not fit into %s.schedules", len(list), f.opt.SystemSchema),
			Hint: "SHOW SCHEDULES lists them, and SHOW SCHEDULE name one"}
	}
	return string(text), nil
}
