package jobstep

import (
	"cmp"
	"fmt"
	"time"
)

// Manners are what a flush owes to a busy database. They are numbers, for they are part of workflow history.
type Manners struct {
	MaxRowsPerSecond int64         `json:",omitempty"` // 0: no limit
	ChunkTime        time.Duration `json:",omitempty"` // how long the transaction of a chunk should last at most; 0: as it comes
	ChunkBytes       int64         `json:",omitempty"` // limit of a chunk in this generation
	CutBytes         int64         `json:",omitempty"` // what its largest chunks have: less, if that makes them equal
	MostChunkBytes   int64         `json:",omitempty"` // as asked for: chunks never grow beyond
	ChecksLoad       bool          `json:",omitempty"` // there are limits of the load to look at
}

// Gated reports whether a chunk may have to wait before it begins.
func (m *Manners) Gated() bool { return m != nil && (m.MaxRowsPerSecond > 0 || m.ChecksLoad) }

// PhaseThrottled is the phase of a job that waits because of max_rows_per_second.
const PhaseThrottled = "throttled"

// How often the load is looked at.
const (
	CalmFor      = 5 * time.Second  // a look that found no limit exceeded holds for so long
	firstLook    = time.Second      // after one that did, the first wait; it doubles
	lastLook     = 30 * time.Second // up to this
	visibleDelay = time.Second      // shorter waits are not shown: showing costs an event
)

// NextLook is the wait after a wait of d.
func NextLook(d time.Duration) time.Duration { return min(2*cmp.Or(d, firstLook/2), lastLook) }

// Shown reports whether a wait is long enough to tell about.
func Shown(d time.Duration) bool { return d >= visibleDelay }

// Pace spreads the beginnings of chunks, so that no more rows move than a rate allows. A chunk is charged what chunks had on
// average when it begins, and the rest when it lands. So from the beginning of one chunk to that of a later one, the chunks that
// began in between and have landed moved at most rate × time rows, and what chunks under way at the first beginning had been
// charged too much: nothing from the job's first chunk on, and never more than a chunk for each lane. Time in which nothing was to
// be moved is not saved up. It is a part of a job's state.
type Pace struct {
	Free   time.Time // when all that has begun is paid for
	Since  time.Time // Free was in the past then, and was moved
	Chunks int64     // landed
	Rows   int64     // of these
}

// Charge is what a chunk was charged when it began.
type Charge struct {
	At   time.Time
	Rows int64
}

// Wait is how long the next chunk has to wait.
func (p *Pace) Wait(now time.Time) time.Duration { return max(p.Free.Sub(now), 0) }

// Begin charges a chunk. guess is how many rows a chunk may have while none has landed.
func (p *Pace) Begin(now time.Time, rate, guess int64) Charge {
	if rate <= 0 {
		return Charge{}
	}
	c := Charge{At: now, Rows: max(guess, 0)}
	if p.Chunks > 0 {
		c.Rows = p.Rows / p.Chunks
	}
	if p.Free.Before(now) {
		p.Free, p.Since = now, now
	}
	p.Free = p.Free.Add(costs(c.Rows, rate))
	return c
}

// Landed corrects a charge by what the chunk has moved. What it was charged too much is given back only if the time has not
// passed unused meanwhile.
func (p *Pace) Landed(rate int64, c Charge, rows int64, moved bool) {
	if rate <= 0 {
		return
	}
	if d := costs(rows, rate) - costs(c.Rows, rate); d > 0 || !c.At.Before(p.Since) {
		p.Free = p.Free.Add(d)
	}
	if moved {
		p.Chunks++
		p.Rows += rows
	}
}

// costs is how long rows take at a rate.
func costs(rows, rate int64) time.Duration {
	const longest = int64(10 * 365 * 24 * time.Hour / time.Second)
	if rows/rate > longest {
		return time.Duration(longest) * time.Second
	}
	return time.Duration(rows/rate)*time.Second + time.Duration(float64(rows%rate)/float64(rate)*float64(time.Second))
}

// Sizing watches how long the transactions of one generation's chunks last. It is a part of a job's state.
type Sizing struct {
	Chunks int           // seen in this generation
	Took   time.Duration // all together
	Cuts   int           // how often the job was cut anew because of this
}

const (
	sizingChunks = 3 // seen before a generation is judged
	maxCuts      = 8
	tooSlow      = 3 // halves of the target: 1.5 times it
	muchTooFast  = 4 // a quarter of it
)

// See takes in a chunk that has moved rows, and returns the size that the rest should be cut in, 0 for as it is. left is how many chunks of the
// generation have not begun, lanes how many run at once.
func (s *Sizing) See(m *Manners, took time.Duration, left, lanes int) (chunkBytes int64) {
	if m == nil || m.ChunkTime <= 0 || m.CutBytes <= 0 || took <= 0 {
		return 0
	}
	s.Chunks++
	s.Took += took
	average := s.Took / time.Duration(s.Chunks)
	enough := s.Chunks >= sizingChunks || average >= 4*m.ChunkTime
	if !enough || s.Cuts >= maxCuts || left < max(lanes, 1) {
		return 0
	}
	factor := float64(m.ChunkTime) / float64(average)
	switch {
	case 2*average > tooSlow*m.ChunkTime && m.CutBytes > MinChunkBytes:
		return max(int64(float64(m.CutBytes)*factor), MinChunkBytes)
	case average*muchTooFast < m.ChunkTime && m.ChunkBytes < m.MostChunkBytes && left > 2*lanes:
		return int64(min(float64(m.ChunkBytes)*factor, float64(m.MostChunkBytes)))
	}
	return 0
}

// Cut notes that a new generation was made.
func (s *Sizing) Cut() { *s = Sizing{Cuts: s.Cuts + 1} }

// Reset forgets what was seen, for a generation that was made for another reason.
func (s *Sizing) Reset() { *s = Sizing{Cuts: s.Cuts} }

// LoadInput asks whether a job may go on.
type LoadInput struct {
	JobID string
}

// Load says which limit is exceeded, if one is. It holds numbers only.
type Load struct {
	LagBytes    int64         `json:",omitempty"` // WAL that a standby has not replayed, or that a slot retains; set if that is too much
	LagTime     time.Duration `json:",omitempty"` // set if that is too long
	LockWaiters int           `json:",omitempty"` // set if these are too many
}

// Calm reports whether no limit is exceeded.
func (l Load) Calm() bool { return l == Load{} }

// Phase is what a job that waits shows.
func (l Load) Phase() string {
	switch {
	case l.LagBytes > 0:
		return "waiting: replication lag " + sizeText(l.LagBytes)
	case l.LagTime > 0:
		return fmt.Sprintf("waiting: replication lag %d s", int64(l.LagTime.Seconds()))
	case l.LockWaiters > 0:
		return fmt.Sprintf("waiting: %d sessions wait for locks", l.LockWaiters)
	}
	return ""
}

// sizeText writes bytes in whole units, as PostgreSQL's settings have them.
func sizeText(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"GB", 1 << 30}, {"MB", 1 << 20}, {"kB", 1 << 10}} {
		if n >= 10*u.bytes {
			return fmt.Sprintf("%d %s", n/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
