package show

import (
	"fmt"
	"time"
)

// paceOver is how far back a pace looks.
const paceOver = 15 * time.Second

// Pace tells how fast something grows. Work is counted chunk by chunk, so it looks back over several steps and not at the
// last one alone.
type Pace struct{ seen []reading }

type reading struct {
	at   time.Time
	done float64
}

// Add notes how much is done. Less than before is a new beginning.
func (p *Pace) Add(at time.Time, done float64) {
	n := len(p.seen)
	if n > 0 && done == p.seen[n-1].done {
		return
	}
	if n > 0 && done < p.seen[n-1].done {
		p.seen = nil
	}
	p.seen = append(p.seen, reading{at: at, done: done})
	for len(p.seen) > 3 && at.Sub(p.seen[0].at) > paceOver {
		p.seen = p.seen[1:]
	}
}

// PerSecond returns how much is done in a second; 0: not known yet.
func (p *Pace) PerSecond(now time.Time) float64 {
	if len(p.seen) < 2 {
		return 0
	}
	first, last := p.seen[0], p.seen[len(p.seen)-1]
	took := now.Sub(first.at).Seconds()
	if took < 0.5 {
		return 0 // too short to tell
	}
	return (last.done - first.done) / took
}

// Left returns how long it takes until total is done; ok is false while that is not known.
func (p *Pace) Left(now time.Time, total float64) (d time.Duration, ok bool) {
	speed := p.PerSecond(now)
	if speed <= 0 {
		return 0, false
	}
	rest := max(0, total-p.seen[len(p.seen)-1].done) / speed
	if rest > 1e6 { // eleven days: it stands still
		return 0, false
	}
	return time.Duration(rest * float64(time.Second)), true
}

// Span writes a time span for people, in at most two units: "45s", "2m 10s", "3h 5m", "2d 4h".
func Span(d time.Duration) string {
	s := int64(max(0, d).Round(time.Second).Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm %ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh %dm", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%dd %dh", s/86400, s%86400/3600)
}
