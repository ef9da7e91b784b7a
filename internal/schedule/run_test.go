package schedule_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/schedule"
	"github.com/spillwaydb/spillway/jobmanager"
)

// book is a ledger with one schedule.
type book struct {
	row     ledger.ScheduleRow
	gone    bool
	rights  ledger.RoleRights
	tables  []ledger.TableRights
	began   int
	status  string
	job     string
	message string
	untold  string // an ended job that a try did not live to tell of
}

func (b *book) ScheduleByID(context.Context, uuid.UUID) (ledger.ScheduleRow, error) {
	if b.gone {
		return ledger.ScheduleRow{}, ledger.ErrNotFound
	}
	return b.row, nil
}
func (b *book) ScheduleBegan(context.Context, uuid.UUID) error                 { b.began++; return nil }
func (b *book) ScheduleStarted(_ context.Context, _ uuid.UUID, j string) error { b.job = j; return nil }
func (b *book) ScheduleEnded(_ context.Context, _ uuid.UUID, status, job, message string) error {
	b.status, b.message = status, message
	if job != "" {
		b.job = job
	}
	return nil
}
func (b *book) ScheduledJob(_ context.Context, schedule, jobType, _, table string, since time.Time) (string, error) {
	if b.untold == "" || since.IsZero() || schedule != b.row.Name || jobType != b.row.JobType || table != b.row.Table {
		return "", nil
	}
	return b.untold, nil
}
func (b *book) RoleRights(context.Context, string, string, string) (ledger.RoleRights, error) {
	return b.rights, nil
}
func (b *book) TableRights(context.Context, string, []string, []string, string) ([]ledger.TableRights, error) {
	return b.tables, nil
}
func (b *book) RegisteredTables(context.Context, string) (out []ledger.RegisteredTable, err error) {
	for _, t := range b.tables {
		out = append(out, ledger.RegisteredTable{Schema: t.Schema, Table: t.Table})
	}
	return out, nil
}
func (b *book) TablesWithSegments(ctx context.Context, ns string) ([]ledger.RegisteredTable, error) {
	return b.RegisteredTables(ctx, ns)
}

// works is a job manager whose jobs end at once, as ends says.
type works struct {
	ends   map[string]jobmanager.Status // by table
	busy   map[string]int               // by table: how often a start is refused still
	starts []jobmanager.JobSpec
	fail   error
}

func (w *works) StartJob(_ context.Context, spec jobmanager.JobSpec) (jobmanager.Started, error) {
	key := spec.Table.String()
	if w.fail != nil {
		return jobmanager.Started{}, w.fail
	}
	if w.busy[key] > 0 {
		w.busy[key]--
		return jobmanager.Started{}, &jobmanager.BusyError{Table: spec.Table, Running: jobmanager.JobID{Type: "flush", Table: spec.Table, UUID: uuid.New()}}
	}
	w.starts = append(w.starts, spec)
	return jobmanager.Started{ID: jobmanager.JobID{Type: spec.Type, Table: spec.Table, UUID: uuid.New()}}, nil
}
func (w *works) JobStatus(context.Context, jobmanager.JobID) (jobmanager.JobInfo, error) {
	return jobmanager.JobInfo{}, jobmanager.ErrJobNotFound
}
func (w *works) WaitJob(_ context.Context, id jobmanager.JobID) (jobmanager.JobInfo, error) {
	status, ok := w.ends[id.Table.String()]
	if !ok {
		status = jobmanager.Completed
	}
	return jobmanager.JobInfo{ID: id, Status: status, Error: "value 4711", ErrorClass: "data"}, nil
}

func nightly() *book {
	return &book{
		row: ledger.ScheduleRow{Name: "nightly", ID: uuid.New(), JobType: "flush", Scope: ledger.ScopeTable, Schema: "app", Table: "events", Params: map[string]string{"where": "x"},
			JobStatement: "FLUSH …", CreatedBy: "alice", RunAs: "team", State: ledger.ScheduleReady},
		rights: ledger.RoleRights{Exists: true},
		tables: []ledger.TableRights{{Schema: "app", Table: "events", Owner: true}},
	}
}

func run(t *testing.T, b *book, w *works, before schedule.Progress) (schedule.Result, schedule.Progress, error) {
	t.Helper()
	r, err := schedule.New(b, w, &schedule.Options{TurnEvery: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var last schedule.Progress
	res, err := r.Run(t.Context(), schedule.Input{Name: b.row.Name, ID: b.row.ID.String()}, before, func(p schedule.Progress) { last = p })
	return res, last, err
}

// A46, A50: a run starts the job as its creator, by schedule, and waits for it.
func TestRun(t *testing.T) {
	t.Parallel()
	b, w := nightly(), &works{busy: map[string]int{"app.events": 2}}
	res, last, err := run(t, b, w, schedule.Progress{})
	if err != nil || res.Status != "completed" || res.Completed != 1 || b.status != "completed" || b.began != 1 {
		t.Fatalf("%+v %v %+v", res, err, b)
	}
	s := w.starts[0]
	if s.Trigger != jobmanager.TriggerSchedule || s.Schedule != "nightly" || s.RequestedBy != "alice" || s.Params["where"] != "x" || len(w.starts) != 1 {
		t.Errorf("%+v", w.starts)
	}
	if last.Jobs["app.events"] != b.job {
		t.Errorf("%+v", last)
	}
	// The next try, after a crash, starts nothing.
	if _, _, err := run(t, b, w, last); err != nil || len(w.starts) != 1 || b.began != 1 {
		t.Errorf("%v, %d starts, began %d times", err, len(w.starts), b.began)
	}
}

// A46: a try that was killed before it could tell which job it had started does not make the next one start another.
func TestRunFindsWhatAnEarlierTryStarted(t *testing.T) {
	t.Parallel()
	b, w := nightly(), &works{}
	b.untold = "flush:app.events:" + uuid.NewString()
	r, err := schedule.New(b, w, nil)
	if err != nil {
		t.Fatal(err)
	}
	var last schedule.Progress
	in := schedule.Input{Name: b.row.Name, ID: b.row.ID.String(), Since: time.Now()}
	res, err := r.Run(t.Context(), in, schedule.Progress{}, func(p schedule.Progress) { last = p })
	if err != nil || res.Completed != 1 || len(w.starts) != 0 || last.Jobs["app.events"] != b.untold || b.job != b.untold {
		t.Errorf("%+v, %v, %d starts, %+v", res, err, len(w.starts), last)
	}
	in.Since = time.Time{} // a first try knows of none before it
	if _, err := r.Run(t.Context(), in, schedule.Progress{}, func(schedule.Progress) {}); err != nil || len(w.starts) != 1 {
		t.Errorf("%v, %d starts", err, len(w.starts))
	}
}

// A46: who may no longer do what the schedule does starts nothing, and an operator may.
func TestRunAsksForRights(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*book)
		class  string
	}{
		"role gone":             {func(b *book) { b.rights = ledger.RoleRights{} }, schedule.ClassPrivilege},
		"no owner":              {func(b *book) { b.tables[0].Owner = false }, schedule.ClassPrivilege},
		"operator":              {func(b *book) { b.tables[0].Owner, b.rights.Anywhere = false, true }, ""},
		"table gone":            {func(b *book) { b.tables = nil }, schedule.ClassMissing},
		"triggers":              {func(b *book) { b.row.Params["triggers"] = "fire" }, schedule.ClassPrivilege},
		"all, and no operator":  {func(b *book) { b.row.Scope, b.row.Schema, b.row.Table = ledger.ScopeAll, "", "" }, schedule.ClassPrivilege},
		"clean-up, no operator": {func(b *book) { b.row.Scope, b.row.JobType = ledger.ScopeAll, "cleanup" }, schedule.ClassPrivilege},
	} {
		b, w := nightly(), &works{}
		c.change(b)
		_, _, err := run(t, b, w, schedule.Progress{})
		var failed *schedule.FailedError
		switch {
		case c.class == "" && (err != nil || len(w.starts) != 1):
			t.Errorf("%s: %v", name, err)
		case c.class != "" && (!errors.As(err, &failed) || failed.Class != c.class || len(w.starts) != 0 || b.status != "failed" || b.message == ""):
			t.Errorf("%s: %v, %d starts, %+v", name, err, len(w.starts), b)
		}
	}
}

// A46: one table's trouble does not stop the others; a killed job is no failure; a dropped schedule does nothing.
func TestRunOfManyTables(t *testing.T) {
	t.Parallel()
	b := nightly()
	b.row.Scope, b.row.Schema, b.row.Table, b.rights.Anywhere = ledger.ScopeAll, "", "", true
	b.row.Params["unregistered"] = "true"
	b.tables = []ledger.TableRights{{Schema: "app", Table: "a"}, {Schema: "app", Table: "b"}, {Schema: "app", Table: "c"}, {Schema: "app", Table: "c", Owner: true}}
	w := &works{ends: map[string]jobmanager.Status{"app.a": jobmanager.Failed, "app.b": jobmanager.Cancelled}, busy: map[string]int{"app.a": 1}}
	_, _, err := run(t, b, w, schedule.Progress{})
	var failed *schedule.FailedError
	if !errors.As(err, &failed) || failed.Class != "data" || failed.Result.Completed != 1 || failed.Result.Cancelled != 1 || failed.Result.Failed != 1 || !strings.Contains(b.job, "app.a") {
		t.Fatalf("%v %+v", err, b)
	}
	var tables []string
	for _, s := range w.starts {
		tables = append(tables, s.Table.String())
		if _, ok := s.Params["unregistered"]; ok {
			t.Error("a job got the option of FLUSH ALL")
		}
	}
	if !slices.Equal(tables, []string{"app.b", "app.c", "app.a"}) {
		t.Errorf("%v", tables)
	}
	w.ends = map[string]jobmanager.Status{"app.b": jobmanager.Cancelled}
	if res, _, err := run(t, b, w, schedule.Progress{}); err != nil || res.Status != "cancelled" || b.message != "" {
		t.Errorf("%+v %v", res, err)
	}
	b.gone = true
	if res, _, err := run(t, b, w, schedule.Progress{}); err != nil || res.Status != "dropped" {
		t.Errorf("%+v %v", res, err)
	}
	b.gone, w.fail = false, jobmanager.ErrUnavailable
	if _, _, err := run(t, b, w, schedule.Progress{}); !errors.Is(err, jobmanager.ErrUnavailable) || errors.As(err, &failed) && failed == err {
		t.Errorf("%v", err)
	}
}
