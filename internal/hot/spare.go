package hot

import (
	"sync"
	"time"
)

// spareTime is how long a released session waits for another chunk. Between two chunks of a job lie milliseconds.
const spareTime = time.Second

// spares are sessions that were released and not yet taken again.
type spares struct {
	mu     sync.Mutex
	list   []*Session
	closed bool
}

// take returns a session, the last released first, or nil. It is the caller's alone.
func (p *spares) take() *Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.list) == 0 {
		return nil
	}
	s := p.list[len(p.list)-1]
	p.list = p.list[:len(p.list)-1]
	return s
}

// put keeps a session for spareTime.
func (p *spares) put(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		s.Close()
		return
	}
	p.list = append(p.list, s)
	s.used++
	use := s.used
	time.AfterFunc(spareTime, func() {
		if p.drop(s, use) {
			s.Close()
		}
	})
}

// drop takes a session out if nobody has taken it since it was put there for the given time.
func (p *spares) drop(s *Session, use int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.list {
		if other == s && s.used == use {
			p.list = append(p.list[:i], p.list[i+1:]...)
			return true
		}
	}
	return false
}

// close closes the sessions that are kept, and those released from now on.
func (p *spares) close() {
	p.mu.Lock()
	list := p.list
	p.list, p.closed = nil, true
	p.mu.Unlock()
	for _, s := range list {
		s.Close()
	}
}
