package policy

import (
	"cmp"
	"slices"
	"time"
)

// told is how many tables a report names of each kind.
const told = 5

// Report is what a watcher tells about its tables: names, numbers and classes, and no value or text of an error.
type Report struct {
	Tables  int // with a policy
	Paused  int
	Running int // a job changes the table now
	Failing int // their last try failed
	Missing int // there is no such table

	Next   []Next    // the next that are due by time
	Recent []Start   // the last starts, newest first
	Failed []Failure // the failing ones that are tried next
}

// Next is a table whose interval ends.
type Next struct {
	Table string
	At    time.Time
}

// Start is a flush that a policy started.
type Start struct {
	Table string
	JobID string
	Why   Reason
	Rows  int64 // found due, counted no further than the policy asks
	At    time.Time
}

// Failure is a table whose last try failed.
type Failure struct {
	Table    string
	Class    string
	Failures int
	NextTry  time.Time
}

// Lag is how long a table has been due whose flush has not ended.
type Lag struct {
	Schema, Table string
	Behind        time.Duration
}

// Cost is what a tick took.
type Cost struct {
	Took     time.Duration
	Leaves   int           // whose counters were read
	Measured int           // whose heaps were measured
	Located  int           // tables that were found by name
	Counts   int           // tables whose rows were counted
	Counting time.Duration // took that
	Starts   int
}

// Report returns what was known after the last tick. Any goroutine may ask.
func (w *Watcher) Report() Report {
	w.view.mu.Lock()
	defer w.view.mu.Unlock()
	return w.view.report
}

// Lags lists every table with a policy, and how long it has been due after the last tick; 0: it is not. Any goroutine may ask.
func (w *Watcher) Lags() []Lag {
	w.view.mu.Lock()
	defer w.view.mu.Unlock()
	return w.view.lags
}

// Ticks is how often it has looked. Any goroutine may ask.
func (w *Watcher) Ticks() int64 {
	w.view.mu.Lock()
	defer w.view.mu.Unlock()
	return w.view.ticks
}

// Cost returns what the last tick took. Only the goroutine that calls Tick may ask.
func (w *Watcher) Cost() Cost { return w.cost }

// show puts what is known where others may look.
func (w *Watcher) show() {
	r := Report{Tables: len(w.order), Recent: slices.Clone(w.recent)}
	lags := make([]Lag, len(w.order))
	for i, e := range w.order {
		lags[i] = Lag{Schema: e.name.Schema, Table: e.name.Name}
		if !e.dueSince.IsZero() {
			lags[i].Behind = w.now.Sub(e.dueSince)
		}
		r.add(e, w.now)
	}
	r.Next = first(r.Next, func(a, b Next) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Table, b.Table)) })
	r.Failed = first(r.Failed, func(a, b Failure) int { return cmp.Or(a.NextTry.Compare(b.NextTry), cmp.Compare(a.Table, b.Table)) })
	w.view.mu.Lock()
	defer w.view.mu.Unlock()
	w.view.report, w.view.lags = r, lags
	w.view.ticks++
}

func (r *Report) add(e *entry, now time.Time) {
	name := e.name.Schema + "." + e.name.Name
	switch e.verdict.Reason {
	case IsPaused:
		r.Paused++
		return
	case Missing:
		r.Missing++
		return
	}
	if e.starting || len(e.waitsFor()) > 0 {
		r.Running++
	} else if at := e.verdict.At; !at.IsZero() && e.verdict.Reason != Resting && at.After(now) {
		r.Next = append(r.Next, Next{Table: name, At: at.UTC().Truncate(time.Second)})
	}
	if e.duty.Failures > 0 {
		r.Failing++
		f := Failure{Table: name, Class: e.duty.Class, Failures: e.duty.Failures}
		if e.duty.NextTry != nil {
			f.NextTry = e.duty.NextTry.UTC().Truncate(time.Second)
		}
		r.Failed = append(r.Failed, f)
	}
}

// first sorts a list and keeps its beginning.
func first[T any](list []T, compare func(a, b T) int) []T {
	slices.SortFunc(list, compare)
	return slices.Clone(list[:min(len(list), told)])
}

// Same reports whether two reports tell the same.
func (r Report) Same(o Report) bool {
	return r.Tables == o.Tables && r.Paused == o.Paused && r.Running == o.Running && r.Failing == o.Failing && r.Missing == o.Missing &&
		slices.Equal(r.Next, o.Next) && slices.Equal(r.Recent, o.Recent) && slices.Equal(r.Failed, o.Failed)
}
