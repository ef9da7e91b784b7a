package localjobs

import (
	"context"
	"slices"
	"sync"
)

// slots bounds how many chunks run at once. Jobs that wait for one take turns, so that a job with few chunks does not wait
// behind all those of a giant.
type slots struct {
	mu    sync.Mutex
	free  int
	lines []*line // of jobs that wait; the first is served next
}

// line is where the chunks of one job wait.
type line struct {
	job     *job
	waiting []chan struct{} // closed when it has a slot
}

func newSlots(n int) *slots { return &slots{free: n} }

// take waits for a slot. Every slot that was taken must be given back.
func (s *slots) take(ctx context.Context, j *job) error {
	s.mu.Lock()
	if s.free > 0 { // then nobody waits
		s.free--
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	i := slices.IndexFunc(s.lines, func(l *line) bool { return l.job == j })
	if i < 0 {
		i = len(s.lines)
		s.lines = append(s.lines, &line{job: j})
	}
	s.lines[i].waiting = append(s.lines[i].waiting, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		s.leave(j, turn)
		return context.Cause(ctx)
	}
}

// give gives a slot back: to the job whose turn it is, which then goes to the end of the queue.
func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lines) == 0 {
		s.free++
		return
	}
	l := s.lines[0]
	s.lines = s.lines[1:]
	close(l.waiting[0])
	if l.waiting = l.waiting[1:]; len(l.waiting) > 0 {
		s.lines = append(s.lines, l)
	}
}

// leave ends a wait. If the slot has just come, somebody else gets it.
func (s *slots) leave(j *job, turn chan struct{}) {
	s.mu.Lock()
	for i, l := range s.lines {
		if k := slices.Index(l.waiting, turn); l.job == j && k >= 0 {
			l.waiting = slices.Delete(l.waiting, k, k+1)
			if len(l.waiting) == 0 {
				s.lines = slices.Delete(s.lines, i, i+1)
			}
			s.mu.Unlock()
			return
		}
	}
	s.mu.Unlock()
	s.give()
}
