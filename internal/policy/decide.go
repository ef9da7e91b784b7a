package policy

import "time"

// State is what is known of a table when its policy is asked.
type State struct {
	Since     time.Time // when its last flush ended; of a table that was never flushed, when the policy was set
	Paused    bool
	Missing   bool       // there is no such table
	Running   bool       // a job changes the table
	NextTry   *time.Time // nil: at any time
	Rows      int64      // hot rows that a flush would move, counted as far as Need says
	Bytes     int64      // their size
	Uncounted bool       // nobody knows Rows and Bytes
}

// Reason says why a policy fires, or why it does not.
type Reason string

// The reasons.
const (
	ByInterval Reason = "interval"
	ByRows     Reason = "rows"
	ByBytes    Reason = "bytes"

	Below    Reason = "below"   // its rows and its interval are below what it waits for
	NoRows   Reason = "no_rows" // the interval has passed, and there are too few rows to move
	IsPaused Reason = "paused"  // somebody made it rest
	Resting  Reason = "resting" // its last try failed, and the next is later
	Busy     Reason = "busy"    // a job changes the table
	Missing  Reason = "missing" // there is no such table
	Unknown  Reason = "unknown" // its rows have not been counted yet
)

// Verdict is what a policy says about its table now.
type Verdict struct {
	Due    bool
	Reason Reason
	At     time.Time // when it is due by time alone; zero: never
}

// Due is when the interval has passed, or zero if there is none. An interval counts from the end of the last flush, so it does not
// drift by the time that a watcher needs to notice.
func (p Policy) Due(since time.Time) time.Time {
	if p.Interval <= 0 {
		return time.Time{}
	}
	return since.Add(p.Interval)
}

// Need is what has to be counted for a verdict: so many rows, or bytes. Both zero: nothing has to be counted now.
type Need struct {
	Rows  int64
	Bytes int64
}

// Zero reports whether nothing has to be counted.
func (n Need) Zero() bool { return n == Need{} }

// Need says how far the rows of a table have to be counted now: never further than what would start a flush.
func (p Policy) Need(s State, now time.Time) Need {
	if s.Paused || s.Missing || s.Running || s.NextTry != nil && now.Before(*s.NextTry) {
		return Need{}
	}
	least := max(p.MinRows, 1)
	if at := p.Due(s.Since); !at.IsZero() && !now.Before(at) {
		return Need{Rows: least}
	}
	var n Need
	if p.Rows > 0 {
		n.Rows = max(p.Rows, least)
	}
	if p.Bytes > 0 {
		n.Rows, n.Bytes = max(n.Rows, least), p.Bytes
	}
	return n
}

// Decide says whether a table is due. It is a function of its arguments alone.
func (p Policy) Decide(s State, now time.Time) Verdict {
	v := Verdict{At: p.Due(s.Since)}
	switch {
	case s.Paused:
		return Verdict{Reason: IsPaused}
	case s.Missing:
		return Verdict{Reason: Missing}
	case s.Running:
		return Verdict{Reason: Busy}
	case s.NextTry != nil && now.Before(*s.NextTry):
		return Verdict{Reason: Resting, At: *s.NextTry}
	}
	passed := !v.At.IsZero() && !now.Before(v.At)
	enough := s.Rows >= max(p.MinRows, 1)
	switch {
	case s.Uncounted && !p.Need(s, now).Zero():
		v.Reason = Unknown
	case p.Rows > 0 && s.Rows >= p.Rows && enough:
		v.Due, v.Reason = true, ByRows
	case p.Bytes > 0 && s.Bytes >= p.Bytes && enough:
		v.Due, v.Reason = true, ByBytes
	case passed && enough:
		v.Due, v.Reason = true, ByInterval
	case passed:
		v.Reason = NoRows
	default:
		v.Reason = Below
	}
	return v
}

// Defaults of the rest after a failure.
const (
	DefaultBackoff    = 30 * time.Second
	DefaultMaxBackoff = time.Hour
)

// Backoff is how long a table rests after so many failures one after the other: it doubles each time.
func Backoff(first, most time.Duration, failures int) time.Duration {
	rest := first
	for range failures - 1 {
		if rest *= 2; rest >= most {
			return most
		}
	}
	return min(rest, most)
}
