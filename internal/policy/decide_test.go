package policy

import (
	"testing"
	"time"
)

// A40, A41, A42, A43, A44: when a policy fires, as a function of what is known of its table.
func TestDecide(t *testing.T) {
	t.Parallel()
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	later := func(d time.Duration) *time.Time { at := t0.Add(d); return &at }
	both := Policy{Interval: time.Minute, Rows: 100, MinRows: 1}
	for name, c := range map[string]struct {
		p     Policy
		s     State
		after time.Duration
		due   bool
		why   Reason
	}{
		"interval reached":                 {both, State{Rows: 1}, time.Minute, true, ByInterval},
		"interval not reached":             {both, State{Rows: 99}, time.Minute - 1, false, Below},
		"interval reached without rows":    {both, State{}, time.Hour, false, NoRows},
		"rows reached before the interval": {both, State{Rows: 100}, 0, true, ByRows},
		"bytes reached":                    {Policy{Bytes: 1000, MinRows: 1}, State{Rows: 2, Bytes: 1000}, 0, true, ByBytes},
		"bytes not reached":                {Policy{Bytes: 1000, MinRows: 1}, State{Rows: 2, Bytes: 999}, time.Hour, false, Below},
		"too few rows for a flush":         {Policy{Interval: time.Minute, MinRows: 10}, State{Rows: 9}, time.Hour, false, NoRows},
		"enough rows for a flush":          {Policy{Interval: time.Minute, MinRows: 10}, State{Rows: 10}, time.Hour, true, ByInterval},
		"fewer rows than min_rows":         {Policy{Rows: 5, MinRows: 10}, State{Rows: 9}, 0, false, Below},
		"paused":                           {both, State{Rows: 1000, Paused: true}, time.Hour, false, IsPaused},
		"resting":                          {both, State{Rows: 1000, NextTry: later(2 * time.Hour)}, time.Hour, false, Resting},
		"rested":                           {both, State{Rows: 1000, NextTry: later(time.Hour)}, time.Hour, true, ByRows},
		"running":                          {both, State{Rows: 1000, Running: true}, time.Hour, false, Busy},
		"missing":                          {both, State{Missing: true}, time.Hour, false, Missing},
		"not counted":                      {both, State{Uncounted: true}, time.Hour, false, Unknown},
		"nothing to count yet":             {Policy{Interval: time.Minute, MinRows: 1}, State{Uncounted: true}, 0, false, Below},
		"no trigger at all":                {Policy{MinRows: 1}, State{Rows: 1 << 40}, time.Hour, false, Below},
	} {
		c.s.Since = t0
		if v := c.p.Decide(c.s, t0.Add(c.after)); v.Due != c.due || v.Reason != c.why {
			t.Errorf("%s: %+v, want due = %v by %s", name, v, c.due, c.why)
		}
	}
}

// A43: both counters begin with the last flush, so that no interval is shortened or drifts.
func TestBothCountersBeginWithTheFlush(t *testing.T) {
	t.Parallel()
	p := Policy{Interval: time.Minute, Rows: 100, MinRows: 1}
	since := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 1000 {
		v := p.Decide(State{Since: since, Rows: 5}, since.Add(59*time.Second))
		if v.Due || !v.At.Equal(since.Add(time.Minute)) {
			t.Fatalf("%+v", v)
		}
		since = v.At.Add(700 * time.Millisecond) // a flush takes its time; the next interval counts from its end
	}
}

// What is counted never goes further than what would start a flush.
func TestNeed(t *testing.T) {
	t.Parallel()
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := Policy{Interval: time.Minute, Rows: 100, MinRows: 3}
	for name, c := range map[string]struct {
		p     Policy
		s     State
		after time.Duration
		want  Need
	}{
		"before the interval":      {p, State{}, 0, Need{Rows: 100}},
		"after it":                 {p, State{}, time.Minute, Need{Rows: 3}},
		"by interval alone before": {Policy{Interval: time.Minute, MinRows: 1}, State{}, 0, Need{}},
		"bytes":                    {Policy{Bytes: 7, MinRows: 1}, State{}, 0, Need{Rows: 1, Bytes: 7}},
		"paused":                   {p, State{Paused: true}, 0, Need{}},
		"running":                  {p, State{Running: true}, time.Hour, Need{}},
	} {
		c.s.Since = t0
		if got := c.p.Need(c.s, t0.Add(c.after)); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]time.Duration{
		0: 30 * time.Second, 1: 30 * time.Second, 2: time.Minute, 3: 2 * time.Minute, 7: 32 * time.Minute, 8: time.Hour, 1000: time.Hour,
	} {
		if got := Backoff(DefaultBackoff, DefaultMaxBackoff, n); got != want {
			t.Errorf("after %d failures: %s, want %s", n, got, want)
		}
	}
}
