package policy

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
)

const (
	startPatience = 15 * time.Second
	writePatience = 10 * time.Second
	// retryStart is when a start is tried again that failed by no fault of its policy.
	retryStart = 5 * time.Second
	// recentStarts is how many starts are told of.
	recentStarts = 5
)

// begun is the answer of a start.
type begun struct {
	e      *entry
	policy string
	why    Reason
	rows   int64
	jobID  string
	err    error
}

// begin starts what is due, those first that have been due for longest, as far as starts are free. Answers that come at once are
// taken at once.
func (w *Watcher) begin(ctx context.Context) {
	var due []*entry
	clock := time.Now()
	for _, e := range w.order {
		w.judge(e)
		if e.verdict.Due && !clock.Before(e.nextStart) && !e.counting {
			due = append(due, e)
		}
	}
	slices.SortStableFunc(due, func(a, b *entry) int { return a.dueSince.Compare(b.dueSince) })
	patience := time.NewTimer(w.opt.Tick / 2)
	defer patience.Stop()
	for len(due) > 0 || w.starts > 0 {
		if len(due) > 0 && w.starts < w.opt.Starts {
			w.startOne(ctx, due[0])
			due = due[1:]
			continue
		}
		select {
		case r := <-w.starting:
			w.started(r)
		case <-patience.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// judge asks the policy for its verdict.
func (w *Watcher) judge(e *entry) {
	if e.broken != nil {
		if e.duty.Class != classInvalid {
			w.refuse(e, classInvalid, e.broken)
		}
		e.verdict = Verdict{Reason: Resting}
		return
	}
	s := e.state(w.now)
	s.Uncounted = !e.tallied || !e.tally.answers(e.policy.Need(s, w.now), e.policy)
	e.verdict = e.policy.Decide(s, w.now)
	switch e.verdict.Reason {
	case Busy, Resting, Unknown: // it may be due all the same
	default:
		if !e.verdict.Due {
			e.dueSince = time.Time{}
		} else if e.dueSince.IsZero() {
			if e.dueSince = w.now; e.verdict.Reason == ByInterval {
				e.dueSince = e.verdict.At
			}
		}
	}
}

// startOne begins a start.
func (w *Watcher) startOne(ctx context.Context, e *entry) {
	d, p := e.duty, e.policy
	r := begun{e: e, policy: string(d.Policy), why: e.verdict.Reason, rows: e.tally.rows}
	e.starting = true
	w.starts++
	w.cost.Starts++
	go func() {
		ctx, cancel := context.WithTimeout(ctx, startPatience)
		defer cancel()
		if r.jobID, r.err = w.starter.StartFlush(ctx, d, p); r.err == nil && r.jobID != d.JobID {
			// Whatever happens to this process: the job is there, and its row should say so.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writePatience)
			defer cancel()
			r.err = w.ledger.DutyStarted(ctx, d.Schema, d.Table, r.jobID)
		}
		w.starting <- r
	}()
}

// started takes the answer of a start.
func (w *Watcher) started(r begun) {
	w.starts--
	e := r.e
	e.starting = false
	table := e.name.Schema + "." + e.name.Name
	var busy *BusyError
	var refused *StartError
	switch {
	case r.err == nil && r.jobID == e.settled: // it has ended for the ledger, and its workflow is about to
		e.nextStart = time.Now().Add(w.opt.Tick / 4)
	case r.err == nil && r.jobID == e.duty.JobID: // it lives
		e.relook = w.now.Add(w.opt.Relook)
	case r.err == nil:
		now := w.now
		e.duty.JobID, e.duty.TriedAt, e.duty.NextTry, e.why = r.jobID, &now, nil, r.why
		e.relook = w.now.Add(w.opt.Relook)
		w.recent = slices.Insert(w.recent, 0, Start{Table: table, JobID: r.jobID, Why: r.why, Rows: r.rows, At: w.now})
		w.recent = w.recent[:min(len(w.recent), recentStarts)]
		w.opt.Logger.Info("a policy started a flush", obs.KeyTable, table, obs.KeyJob, r.jobID, "why", string(r.why))
	case errors.As(r.err, &busy):
		e.busyWith, e.relook = busy.JobID, w.now.Add(w.opt.Relook)
	case errors.As(r.err, &refused):
		w.refuse(e, refused.Class, refused.Err)
	case errors.Is(r.err, context.Canceled): // the watch ends; the next finds out what became of it
	default:
		e.nextStart = time.Now().Add(max(retryStart, w.opt.Tick))
		w.opt.Logger.Warn("cannot start the flush of a policy; trying again", obs.KeyTable, table, obs.KeyErr, r.err)
	}
}

// refuse records that a policy can start no job, and lets its table rest.
func (w *Watcher) refuse(e *entry, class string, why error) {
	failures := e.duty.Failures + 1
	o := ledger.DutyOutcome{Failures: failures, Error: why.Error(), Class: class, Rest: Backoff(w.opt.Backoff, w.opt.MaxBackoff, failures)}
	ctx, cancel := context.WithTimeout(context.Background(), writePatience)
	defer cancel()
	table := e.name.Schema + "." + e.name.Name
	if err := w.ledger.DutyRefused(ctx, e.name.Schema, e.name.Name, e.duty.Version, o); err != nil {
		w.opt.Logger.Warn("cannot record the failure of a policy", obs.KeyTable, table, obs.KeyErr, err)
	}
	e.rest(o, w.now)
	w.opt.Logger.Warn("a policy cannot start its flush", obs.KeyTable, table, obs.KeyClass, class, obs.KeyErr, why)
}
