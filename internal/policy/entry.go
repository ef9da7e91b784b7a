package policy

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
)

// entry is what a watcher knows of one table. Only the ledger's part of it must not be lost.
type entry struct {
	name   hot.TableName
	duty   ledger.Duty
	policy Policy
	broken error // the policy cannot be read

	place   hot.Place
	located bool
	table   *hot.Table // nil: not looked at yet

	changes int64 // PostgreSQL's counters, added up
	dirty   bool  // it has changed since it was counted

	tallied   bool
	tally     tally
	countedAt time.Time // by the server's clock
	nextCount time.Time // by this machine's
	position  string    // of the WAL before the count
	counting  bool
	width     int64 // bytes of a row, about; 0: not known
	stretch   int64 // how much further than expected bytes are counted, in powers of two

	settled   string    // the job whose end has been dealt with
	flushedAt time.Time // a flush that the ledger's row does not tell of yet
	busyWith  string    // another job that has the table
	relook    time.Time // when to ask again for the job, whose end may never be recorded
	starting  bool
	nextStart time.Time // by this machine's clock

	verdict  Verdict
	why      Reason    // of the last start
	dueSince time.Time // zero: it is not due
}

// tally is the answer of a count.
type tally struct {
	rows, bytes int64
	most        int64 // rows were counted up to this
	need        Need
	bound       bool // nothing was counted: there is not room for what was needed
}

// answers reports whether the tally says all that is needed for a verdict of p.
func (t tally) answers(n Need, p Policy) bool {
	switch {
	case t.bound:
		return n == t.need
	case n.Bytes > 0 && t.need.Bytes == 0:
		return false
	case t.rows < t.most:
		return true // there are no more
	case t.rows < n.Rows:
		return false
	}
	return n.Bytes == 0 || t.bytes >= n.Bytes || p.Rows > 0 && t.rows >= p.Rows
}

// take makes the entry what the ledger says.
func (e *entry) take(d ledger.Duty) {
	if !bytes.Equal(e.duty.Policy, d.Policy) {
		e.policy = Policy{}
		e.broken = json.Unmarshal(d.Policy, &e.policy)
		e.tallied, e.dirty, e.table, e.width, e.stretch = false, true, nil, 0, 0
		e.nextCount = time.Time{}
	}
	if was, is := e.duty.LastFlushAt, d.LastFlushAt; is != nil && (was == nil || !was.Equal(*is)) { // whoever flushed it
		e.tallied, e.dirty, e.nextCount = false, true, time.Time{}
	}
	e.duty = d
}

// state is what a policy is asked with.
func (e *entry) state(now time.Time) State {
	s := State{
		Since: e.duty.SetAt, Paused: e.duty.Paused, Missing: e.located && e.place.OID == 0, Running: e.running(now), NextTry: e.duty.NextTry,
		Rows: e.tally.rows, Bytes: e.tally.bytes, Uncounted: !e.tallied,
	}
	if e.duty.LastFlushAt != nil {
		s.Since = *e.duty.LastFlushAt
	}
	if e.flushedAt.After(s.Since) {
		s.Since = e.flushedAt
	}
	return s
}

// running reports whether a job has the table, as far as is known. From time to time that is doubted, for a job whose Temporal is
// lost never ends.
func (e *entry) running(now time.Time) bool {
	return e.starting || len(e.waitsFor()) > 0 && now.Before(e.relook)
}

// waitsFor lists the jobs whose end matters.
func (e *entry) waitsFor() (ids []string) {
	if e.duty.JobID != "" && e.duty.JobID != e.settled {
		ids = append(ids, e.duty.JobID)
	}
	if e.busyWith != "" {
		ids = append(ids, e.busyWith)
	}
	return ids
}

// ended takes note of the end of a job that had the table.
func (e *entry) ended(h ledger.HistoryRow) {
	e.dirty, e.tallied, e.nextCount = true, false, time.Time{}
	if h.JobType == "flush" && h.Status == "completed" && h.FinishedAt.After(e.flushedAt) {
		e.flushedAt = h.FinishedAt
	}
}

// stuck reports whether a flush that ended well has left what made it due.
func (e *entry) stuck(h ledger.HistoryRow) bool {
	var left int64
	if h.RowsLeft != nil {
		left = *h.RowsLeft
	}
	if h.RowsFlushed == 0 {
		return left > 0 || h.RowsSkipped > 0 || e.why != ByInterval
	}
	return e.policy.Rows > 0 && h.RowsFlushed < e.policy.Rows && left >= e.policy.Rows
}

// rest applies what the ledger was told, before it tells so itself.
func (e *entry) rest(o ledger.DutyOutcome, now time.Time) {
	e.duty.Failures, e.duty.Error, e.duty.Class, e.duty.NextTry = o.Failures, o.Error, o.Class, nil
	if o.Rest > 0 {
		at := now.Add(o.Rest)
		e.duty.NextTry = &at
	}
}

func (e *entry) keeps() int64 {
	n, err := strconv.ParseInt(e.policy.Flush["keep_rows"], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// ages reports whether rows become due by the passing of time.
func (e *entry) ages() bool { return e.policy.Flush["older_than"] != "" }

func (e *entry) skipsReferenced() bool {
	v, err := strconv.ParseBool(e.policy.Flush["skip_referenced"])
	return v || err != nil && strings.EqualFold(e.policy.Flush["skip_referenced"], "on")
}

// looksAtTable reports whether columns or foreign keys have to be known before rows are counted.
func (e *entry) looksAtTable() bool { return e.ages() || e.skipsReferenced() || e.policy.Bytes > 0 }

// predicate holds for the rows that a flush would move now, but for those that keep_rows keeps.
func (e *entry) predicate(limit hot.AgeLimit) (string, error) {
	var parts []string
	if w := e.policy.Flush["where"]; w != "" {
		parts = append(parts, w)
	}
	if e.ages() {
		old, err := e.table.OlderThan(e.policy.Flush["age_column"], limit)
		if err != nil {
			return "", err
		}
		parts = append(parts, old)
	}
	if e.skipsReferenced() {
		if free := e.table.NotReferenced(); free != "" {
			parts = append(parts, free)
		}
	}
	for i := range parts {
		parts[i] = "(" + parts[i] + "\n)" // a comment at its end stays its own
	}
	return strings.Join(parts, " AND "), nil
}
