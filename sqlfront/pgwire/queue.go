package pgwire

import "sync"

// What PostgreSQL still owes, by the message that asked for it.
const (
	owesStart    = 'A' // start-up: everything up to the first ReadyForQuery
	owesCopyDone = 'c' // nothing; it marks the end of a client's COPY data in the queue
)

// A reply is one that PostgreSQL owes.
type reply struct {
	kind   byte      // of the client's message: P B C D E S Q F, or one of the above
	call   *call     // if it is the proxy's own question
	text   string    // hint for a syntax error, if it deserves one
	parsed *prepared // it is owed for the Parse of that statement
	piece  bool      // it is owed for a statement cut out of a Query: the client expects the simple protocol's answer
	offset int       // then the characters before it
	last   bool      // and the last one
}

// queue holds the replies that PostgreSQL owes, in order, and what its answers say about the transaction. One goroutine
// adds, another one removes.
type queue struct {
	mu   sync.Mutex
	cond *sync.Cond

	items []reply
	first int

	status   byte // of the last ReadyForQuery
	ready    bool // there was one
	asked    bool // PostgreSQL waits for a password or the like
	explicit bool // inside BEGIN … COMMIT, as far as answers tell
	skipping bool // PostgreSQL ignores everything up to the next Sync
	copyIn   bool // PostgreSQL reads COPY data, and ignores Sync
	idles    int  // how often the client was told that no transaction is open, which ends all portals
	err      error
}

func newQueue() *queue {
	q := &queue{status: 'I'}
	q.cond = sync.NewCond(&q.mu)
	return q
}

// push notes the reply to a message that is about to be sent.
func (q *queue) push(r reply) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.copyIn && r.kind == 'S': // ignored
		return
	case q.copyIn && r.kind == owesCopyDone:
		q.copyIn = false
		q.cond.Broadcast()
		return
	case q.skipping && r.kind != 'S': // ignored
		return
	}
	if r.kind == 'S' {
		q.skipping = false
	}
	q.items = append(q.items, r)
	q.settle()
}

// settle drops markers at the head, and the room of what is gone.
func (q *queue) settle() {
	for q.first < len(q.items) && q.items[q.first].kind == owesCopyDone {
		q.items[q.first] = reply{}
		q.first++
	}
	if q.first < len(q.items) {
		if q.first > 64 {
			q.items = append(q.items[:0], q.items[q.first:]...)
			q.first = 0
		}
		return
	}
	const keep = 256
	if cap(q.items) > keep {
		q.items = nil
	}
	q.items, q.first = q.items[:0], 0
	q.cond.Broadcast()
}

// head returns the reply that is owed now.
func (q *queue) head() (reply, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first >= len(q.items) {
		return reply{}, false
	}
	return q.items[q.first], true
}

func (q *queue) pop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.popLocked()
}

func (q *queue) popLocked() {
	if q.first < len(q.items) {
		q.items[q.first] = reply{}
		q.first++
		q.settle()
	}
}

// failed notes an ErrorResponse: in the extended protocol everything up to the next Sync is ignored.
func (q *queue) failed() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.copyIn = false
	defer q.cond.Broadcast()
	if q.first >= len(q.items) {
		return
	}
	switch q.items[q.first].kind {
	case 'Q', 'F', 'S', owesStart:
		return // a ReadyForQuery still comes
	}
	q.skipping = true
	for q.first < len(q.items) {
		if q.items[q.first].kind == 'S' {
			q.skipping = false
			return
		}
		q.items[q.first] = reply{}
		q.first++
	}
	q.settle()
}

// completed notes a CommandComplete.
func (q *queue) completed(tag string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.copyIn = false
	switch tag {
	case "BEGIN", "START TRANSACTION":
		q.explicit = true
	case "COMMIT", "ROLLBACK", "PREPARE TRANSACTION": // also ROLLBACK TO, then wrong until the next ReadyForQuery
		q.explicit = false
		if q.status == 'E' { // what follows in the same message may run again
			q.status = 'I'
		}
	}
	if q.first < len(q.items) && q.items[q.first].kind == 'E' {
		q.popLocked()
	}
}

// copying notes a CopyInResponse. A Sync that the client has sent before the end of its data is ignored by PostgreSQL.
func (q *queue) copying() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.copyIn = true
	if q.first >= len(q.items) {
		return
	}
	kept := q.items[:q.first+1]
	rest := q.items[q.first+1:]
	for i, r := range rest {
		if r.kind == owesCopyDone {
			q.copyIn = false
			kept = append(kept, rest[i+1:]...)
			break
		}
		if r.kind != 'S' {
			kept = append(kept, r)
		}
	}
	q.items = kept
	q.cond.Broadcast()
}

// readied notes a ReadyForQuery.
func (q *queue) readied(status byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.status, q.ready, q.copyIn = status, true, false
	q.explicit = status != 'I'
	if !q.explicit && q.first < len(q.items) && q.items[q.first].call == nil {
		q.idles++
	}
	q.popLocked()
	q.cond.Broadcast()
}

// close ends all waiting.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	q.cond.Broadcast()
}

// wait returns when PostgreSQL owes nothing more. It is an error if that waits for COPY data, which then never comes.
func (q *queue) wait() error {
	copying, err := q.waitCopy()
	if copying && err == nil {
		return fatal(codeProtocol, "unexpected message during COPY from stdin")
	}
	return err
}

// waitCopy returns when PostgreSQL owes nothing more, or when it waits for COPY data: then it reports true.
func (q *queue) waitCopy() (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.first < len(q.items) && q.err == nil && !q.copyIn {
		q.cond.Wait()
	}
	return q.copyIn, q.err
}

// waitCopyEnd returns when PostgreSQL reads no more COPY data.
func (q *queue) waitCopyEnd() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.copyIn && q.err == nil {
		q.cond.Wait()
	}
}

// copies reports whether PostgreSQL reads COPY data.
func (q *queue) copies() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.copyIn && q.err == nil
}

// epoch counts the transactions that have ended. It is exact when nothing is owed.
func (q *queue) epoch() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.idles
}

// authenticating notes whether PostgreSQL asks the client for a proof.
func (q *queue) authenticating(asked bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asked = asked
	q.cond.Broadcast()
}

// waitReady returns when PostgreSQL has let the client in. False: it asks the client for a proof instead.
func (q *queue) waitReady() (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.ready && !q.asked && q.err == nil {
		q.cond.Wait()
	}
	return q.ready, q.err
}

// idle reports whether nothing is owed and no transaction is open.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ready && q.first >= len(q.items) && q.status == 'I' && !q.explicit
}

func (q *queue) state() (status byte, explicit, skipping bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.status, q.explicit, q.skipping
}

func (q *queue) isReady() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ready
}
