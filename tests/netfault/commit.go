package netfault

import (
	"bytes"
	"encoding/binary"
	"time"
)

// CommitFault is what befalls a COMMIT on PostgreSQL's wire.
type CommitFault int

const (
	// Keep passes it on as any other.
	Keep CommitFault = iota
	// CutBefore cuts the connection in place of passing COMMIT on: it does not take place.
	CutBefore
	// CutClient passes COMMIT on and cuts the client off at that moment: it takes place, and nobody is told.
	CutClient
	// CutBoth passes COMMIT on and cuts both halves: PostgreSQL may find its client gone before, in or after the commit.
	CutBoth
	// Swallow passes COMMIT on and swallows all that the server says from then on: the client waits.
	Swallow
	// Hang holds COMMIT back for some seconds and passes it on then.
	Hang
)

// Faults lists the ways in which a COMMIT goes wrong.
var Faults = []CommitFault{CutBefore, CutClient, CutBoth, Swallow, Hang}

func (f CommitFault) String() string {
	return [...]string{"keep", "cut before COMMIT", "COMMIT passed, client cut", "COMMIT passed, both cut", "answer swallowed", "COMMIT held back"}[f]
}

// hold is how long Hang holds a COMMIT back. It is longer than a killed job waits for the answer.
const hold = 3 * time.Second

// LoseCommits lets the next n COMMITs meet that fault. n < 0 is all of them, until it is called again.
func (p *Proxy) LoseCommits(f CommitFault, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commit, p.left = f, n
}

// Lost is how many COMMITs have met a fault so far.
func (p *Proxy) Lost() int { return int(p.hits.Load()) }

func (p *Proxy) takeFault() CommitFault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 || p.commit == Keep {
		return Keep
	}
	p.left--
	p.hits.Add(1)
	return p.commit
}

// loseCommit passes on a piece that holds a COMMIT, or does not.
func (p *Proxy) loseCommit(c *conn, piece []byte) bool {
	fault := p.takeFault()
	switch fault {
	case CutBefore:
		c.cut()
		return false
	case Hang:
		select {
		case <-time.After(hold):
		case <-c.gone:
			return false
		}
	case Swallow:
		c.mute.Store(true)
	}
	_, err := c.server.Write(piece)
	switch fault {
	case CutClient:
		c.mute.Store(true)
		reset(c.client)
		_ = c.server.CloseWrite() // in order: what the server was asked for it does first
		return false
	case CutBoth:
		c.cut()
		return false
	}
	return err == nil
}

// scanner finds COMMIT among the messages that a client sends.
type scanner struct {
	started bool // the start-up packet, which has no type, has passed
	rest    []byte
	skip    int // bytes of a message that are still to come and do not matter
}

// longest is the longest message that is looked into; COMMIT is short.
const longest = 256

// commits says whether a piece completes a simple query that begins with COMMIT.
func (s *scanner) commits(piece []byte) (found bool) {
	if s.skip >= len(piece) {
		s.skip -= len(piece)
		return false
	}
	s.rest = append(s.rest, piece[s.skip:]...)
	s.skip = 0
	for {
		head := 5
		if !s.started {
			head = 4
		}
		if len(s.rest) < head {
			return found
		}
		size := int(binary.BigEndian.Uint32(s.rest[head-4:])) + head - 4
		if size < head || !s.started && size > 10000 { // not PostgreSQL's: nothing is looked for
			s.rest, s.skip = nil, 1<<62
			return found
		}
		if len(s.rest) < size && size > longest {
			s.skip, s.rest = size-len(s.rest), nil
			return found
		}
		if len(s.rest) < size {
			return found
		}
		if s.started {
			found = found || s.rest[0] == 'Q' && isCommit(s.rest[5:size])
		} else {
			s.started = binary.BigEndian.Uint32(s.rest[4:]) == 3<<16 // else a request for TLS or a cancel
		}
		s.rest = s.rest[size:]
	}
}

func isCommit(query []byte) bool {
	return bytes.HasPrefix(bytes.ToUpper(bytes.TrimSpace(query)), []byte("COMMIT"))
}
