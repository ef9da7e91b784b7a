package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
)

// Ledger is the part of *ledger.Ledger that a Watcher needs.
type Ledger interface {
	DutyMark(ctx context.Context) (string, error)
	DutyNames(ctx context.Context) ([]ledger.DutyName, error)
	Duties(ctx context.Context, names []ledger.DutyName) ([]ledger.Duty, error)
	DutyStarted(ctx context.Context, schema, table, jobID string) error
	DutyEnded(ctx context.Context, schema, table, jobID string, o ledger.DutyOutcome) error
	DutyRefused(ctx context.Context, schema, table string, version int64, o ledger.DutyOutcome) error
	HistoryOf(ctx context.Context, jobIDs []string) (map[string]ledger.HistoryRow, error)
}

// Hot is the part of *hot.DB that a Watcher needs. None of it changes anything.
type Hot interface {
	Pulse(ctx context.Context) (position string, now time.Time, err error)
	Locate(ctx context.Context, names []hot.TableName) ([]hot.Place, error)
	Changes(ctx context.Context, oids []uint32) ([]int64, error)
	Heap(ctx context.Context, oids []uint32) ([]int64, error)
	Stored(ctx context.Context, oids []uint32) ([]int64, error)
	TallyUp(ctx context.Context, t hot.Tally) (rows, bytes int64, err error)
	Estimates(ctx context.Context, how hot.How, scans []hot.Scan) ([]hot.Estimate, error)
	AgeLimit(ctx context.Context, at time.Time, interval, zone string) (hot.AgeLimit, error)
	Look(ctx context.Context, schema, table string) (*hot.Table, error)
}

// Starter starts the flush of a policy. Starting one that runs already finds it.
type Starter interface {
	// StartFlush returns the id of the job. Errors: *BusyError if another job has the table; *StartError if the policy can start
	// none; any other may pass by itself, and counts as no failure of the policy.
	StartFlush(ctx context.Context, d ledger.Duty, p Policy) (jobID string, err error)
}

// BusyError is returned by StartFlush when another job has the table.
type BusyError struct{ JobID string }

func (e *BusyError) Error() string { return "the table is busy with job " + e.JobID }

// StartError is returned by StartFlush when a policy cannot start its job.
type StartError struct {
	Class string // as in system.jobs
	Err   error
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// Error classes that begin here; others are those of jobs.
const (
	ClassNoProgress   = "no_progress" // the flush ended well, and what made it due is still there
	ClassMissingTable = "missing_table"
	classInvalid      = "invalid"
	classPrivilege    = "privilege"
	classData         = "data"
)

// Options tunes a Watcher. The zero value means the defaults.
type Options struct {
	Tick       time.Duration // how often it looks; default 1 s
	Backoff    time.Duration // rest after a first failure; default DefaultBackoff
	MaxBackoff time.Duration // default DefaultMaxBackoff
	Counting   time.Duration // of each tick, for tables that have changed; default half of Tick
	Sweeping   time.Duration // of each tick, for tables that may have changed unnoticed; default a twentieth of Tick
	Patience   time.Duration // of one count; default 5 s
	Lanes      int           // counts at once; default 2
	Starts     int           // starts at once; default 4
	Relook     time.Duration // a job whose end is not recorded is asked for again after this; default 30 s
	Relocate   time.Duration // tables are found by name again after this; default 10 s, partitioned ones a fifth
	Logger     *slog.Logger  // default slog.Default()
}

func (o *Options) withDefaults() Options {
	var opt Options
	if o != nil {
		opt = *o
	}
	for _, d := range []struct {
		v    *time.Duration
		deft time.Duration
	}{
		{&opt.Tick, time.Second}, {&opt.Backoff, DefaultBackoff}, {&opt.MaxBackoff, DefaultMaxBackoff}, {&opt.Patience, 5 * time.Second},
		{&opt.Relook, 30 * time.Second}, {&opt.Relocate, 10 * time.Second},
	} {
		if *d.v <= 0 {
			*d.v = d.deft
		}
	}
	if opt.Counting <= 0 {
		opt.Counting = opt.Tick / 2
	}
	if opt.Sweeping <= 0 {
		opt.Sweeping = opt.Tick / 20
	}
	if opt.Lanes <= 0 {
		opt.Lanes = 2
	}
	if opt.Starts <= 0 {
		opt.Starts = 4
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	return opt
}

// countShare is how much longer a table is left alone than its last count took: counting takes a twentieth of the time at most.
const countShare = 20

// Watcher looks at the tables that have a policy and starts their flushes. All that it must not forget is in the ledger, so that
// another one goes on where it ends; two at once do no harm, for one job at a time has a table.
type Watcher struct {
	ledger  Ledger
	hot     Hot
	starter Starter
	opt     Options

	entries  map[hot.TableName]*entry
	order    []*entry // by name
	mark     string   // of the policies that entries were made of
	position string   // of the WAL before the last whole tick
	now      time.Time
	moved    bool      // the WAL has come further since the last whole tick
	located  time.Time // when all tables were found by name
	leaves   time.Time // when the partitioned ones were
	limits   map[ageKey]hot.AgeLimit

	counting chan counted // answers of counts
	counts   int          // on their way
	starting chan begun   // answers of starts
	starts   int

	recent []Start // the last ones, newest first
	cost   Cost
	view   view
}

type ageKey struct{ interval, zone string }

// view is what others may look at while the watcher runs.
type view struct {
	mu     sync.Mutex
	report Report
	lags   []Lag
	ticks  int64
}

// New returns a watcher. It asks nobody yet.
func New(l Ledger, h Hot, s Starter, opt *Options) (*Watcher, error) {
	if l == nil || h == nil || s == nil {
		return nil, errors.New("a watcher of policies needs a ledger, a database and a starter")
	}
	w := &Watcher{ledger: l, hot: h, starter: s, opt: opt.withDefaults(), entries: map[hot.TableName]*entry{}}
	w.counting = make(chan counted, w.opt.Lanes)
	w.starting = make(chan begun, w.opt.Starts)
	return w, nil
}

// Run looks at the policies until ctx ends, or until told, which is called after every look, says so. What goes wrong is logged, and
// tried again. It may be called again afterwards.
func (w *Watcher) Run(ctx context.Context, told func(Report) (goOn bool)) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() { w.letGo(cancel) }()
	tick := time.NewTicker(w.opt.Tick)
	defer tick.Stop()
	var troubled bool
	for {
		err := w.Tick(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !troubled {
			w.opt.Logger.Warn("cannot watch policies; trying again", obs.KeyErr, err)
		}
		if err == nil && troubled {
			w.opt.Logger.Info("watching policies again")
		}
		troubled = err != nil
		if told != nil && !told(w.Report()) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// letGo waits for the starts that are on their way, and ends the counts.
func (w *Watcher) letGo(cancel context.CancelFunc) {
	for w.starts > 0 {
		w.started(<-w.starting)
	}
	cancel()
	for w.counts > 0 {
		w.answer(<-w.counting)
	}
}

// Tick looks once. What it did not come to, the next one does.
func (w *Watcher) Tick(ctx context.Context) error {
	begin := time.Now()
	w.cost = Cost{}
	w.collect()
	position, now, err := w.hot.Pulse(ctx)
	if err != nil {
		return err
	}
	w.moved = position == "" || position != w.position
	w.now, w.limits = now, map[ageKey]hot.AgeLimit{}
	if w.moved {
		if err := w.read(ctx); err != nil {
			return err
		}
		if err := w.settle(ctx); err != nil {
			return err
		}
	}
	if err := w.locate(ctx); err != nil {
		return err
	}
	if w.moved {
		if err := w.feel(ctx); err != nil {
			return err
		}
	}
	if err := w.count(ctx, position); err != nil {
		return err
	}
	w.begin(ctx)
	w.position = position
	w.cost.Took = time.Since(begin)
	w.show()
	return nil
}

// read makes the entries what the ledger says. Only rows that changed are read.
func (w *Watcher) read(ctx context.Context) error {
	mark, err := w.ledger.DutyMark(ctx)
	if err != nil || mark == w.mark {
		return err
	}
	var names []ledger.DutyName // nil: all
	if w.mark != "" {
		if names, err = w.changed(ctx); err != nil {
			return err
		}
	}
	if w.mark == "" || len(names) > 0 {
		duties, err := w.ledger.Duties(ctx, names)
		if err != nil {
			return err
		}
		for _, d := range duties {
			w.take(d)
		}
	}
	w.mark = mark
	w.sort()
	return nil
}

// changed lists what is new or different, and drops what has gone.
func (w *Watcher) changed(ctx context.Context) ([]ledger.DutyName, error) {
	all, err := w.ledger.DutyNames(ctx)
	if err != nil {
		return nil, err
	}
	var names []ledger.DutyName
	there := make(map[hot.TableName]bool, len(all))
	for _, n := range all {
		key := hot.TableName{Schema: n.Schema, Name: n.Table}
		there[key] = true
		if e := w.entries[key]; e == nil || e.duty.Version != n.Version {
			names = append(names, n)
		}
	}
	for key := range w.entries {
		if !there[key] {
			delete(w.entries, key)
		}
	}
	return names, nil
}

// take makes or renews an entry.
func (w *Watcher) take(d ledger.Duty) {
	key := hot.TableName{Schema: d.Schema, Name: d.Table}
	e := w.entries[key]
	if e == nil {
		e = &entry{name: key}
		w.entries[key] = e
	}
	e.take(d)
}

// settle finds out which jobs have ended, and what follows.
func (w *Watcher) settle(ctx context.Context) error {
	var ids []string
	for _, e := range w.order {
		ids = append(ids, e.waitsFor()...)
	}
	if len(ids) == 0 {
		return nil
	}
	ended, err := w.ledger.HistoryOf(ctx, ids)
	if err != nil {
		return err
	}
	for _, e := range w.order {
		if h, ok := ended[e.busyWith]; ok && e.busyWith != "" {
			e.ended(h)
			e.busyWith = ""
		}
		h, ok := ended[e.duty.JobID]
		if !ok || e.duty.JobID == e.settled {
			continue
		}
		if o := w.outcome(e, h); o != nil {
			if err := w.ledger.DutyEnded(ctx, e.name.Schema, e.name.Name, e.duty.JobID, *o); err != nil {
				return err
			}
			e.rest(*o, w.now)
		}
		e.settled = e.duty.JobID
		e.ended(h)
	}
	return nil
}

// outcome says what follows from the end of a policy's job; nil: nothing that has not been recorded.
func (w *Watcher) outcome(e *entry, h ledger.HistoryRow) *ledger.DutyOutcome {
	d := e.duty
	if d.NextTry != nil || !h.FinishedAt.After(d.SetAt) { // recorded; or it was another policy's
		return nil
	}
	o := ledger.DutyOutcome{Failures: d.Failures, Error: d.Error, Class: d.Class}
	switch {
	case h.Status == "cancelled":
		o.Rest = Backoff(w.opt.Backoff, w.opt.MaxBackoff, d.Failures)
		return &o
	case h.Status == "failed":
		o.Error, o.Class = deref(h.Error, "the flush failed"), deref(h.ErrorClass, "internal")
	case e.stuck(h):
		o.Error, o.Class = fmt.Sprintf("job %s moved %d rows, and left what made it due: rows that are locked or referred to stay hot", h.JobID, h.RowsFlushed), ClassNoProgress
	case d.Failures == 0 && d.Error == "":
		return nil
	default:
		return &ledger.DutyOutcome{}
	}
	o.Failures++
	o.Rest = Backoff(w.opt.Backoff, w.opt.MaxBackoff, o.Failures)
	return &o
}

func deref(s *string, otherwise string) string {
	if s == nil || *s == "" {
		return otherwise
	}
	return *s
}
