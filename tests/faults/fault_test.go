package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// kind is what happens at a point.
type kind string

const (
	fail        kind = "fail"         // the effect does not happen, and an error says so
	deny        kind = "deny"         // it happens, and an error says that it did not
	lie         kind = "lie"          // it does not happen, and nobody says so
	hang        kind = "hang"         // nothing happens until others have gone on; then the effect is tried
	crashBefore kind = "crash before" // kill -9 of the process before the effect
	crashAfter  kind = "crash after"  // and after it
	cut         kind = "cut"          // all connections to PostgreSQL, before the effect
	lost        kind = "lost"         // the effect happens, the answer of PostgreSQL never arrives
	write       kind = "write"        // an application inserts and updates rows just before the effect
	alter       kind = "alter"        // an application adds a column just before the effect
)

// way is how things go on after a fault.
type way string

const (
	retry     way = "retry"     // the same process tries again; beside a process that hangs, another one does, and then the first wakes up
	restart   way = "restart"   // another process goes on with the job
	kill      way = "kill"      // the job is killed at that moment
	woken     way = "woken"     // the attempt that hangs is condemned, wakes up, and only then others go on
	terminate way = "terminate" // the job's end is recorded without a sweep and CLEANUP runs, and then the process wakes up
)

// sort is what kind of effect a point has.
type sort int

const (
	statement sort = iota // of PostgreSQL
	inStream              // a piece of the COPY
	inMemory              // of this process alone
	durable               // a sync: beyond a sync that lies nobody can survive
	storage               // of a store
)

var sorts = map[fault.Point]sort{
	fault.FirstByte: inStream, fault.HalfStream: inStream, fault.FileWritten: inMemory, fault.Fsync: durable, fault.SyncDir: durable,
	fault.Link: storage, fault.Upload: storage, fault.FooterCheck: storage, fault.Delete: storage, fault.DeleteStray: storage, fault.Manifest: storage,
}

// kindsOf says what a point can suffer. PostgreSQL's answers are believed, and so is this process's own memory: where they lie there
// is no ground left to stand on.
func kindsOf(p fault.Point) []kind {
	all := []kind{fail, deny, hang, crashBefore, crashAfter}
	switch sorts[p] {
	case statement:
		return append(all, cut, lost)
	case inStream:
		return append(all, cut)
	case storage:
		return append(all, lie)
	}
	return all
}

func waysOf(k kind) []way {
	switch k {
	case hang:
		return []way{retry, woken, kill, terminate}
	case crashBefore, crashAfter:
		return []way{restart, kill}
	case write, alter:
		return []way{retry}
	}
	return []way{retry, restart, kill}
}

// shot is one fault.
type shot struct {
	Point fault.Point
	Kind  kind
}

// gun fires shots, each at the first time that its point is reached after the shot before.
type gun struct {
	mu    sync.Mutex
	shots []shot

	atLast  func()        // called just before the last shot
	fired   chan struct{} // closed when the last shot is fired
	release chan struct{} // ends a hang
	world   *lane         // nil in a child: what needs it is not fired there
}

func newGun(shots ...shot) *gun {
	return &gun{shots: shots, atLast: func() {}, fired: make(chan struct{}), release: make(chan struct{})}
}

// next is the shot to fire at a point now.
func (g *gun) next(p fault.Point) (s shot, last, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.shots) == 0 || g.shots[0].Point != p {
		return shot{}, false, false
	}
	s, g.shots = g.shots[0], g.shots[1:]
	return s, len(g.shots) == 0, true
}

// hook is a fault.Hook.
func (g *gun) hook(_ context.Context, p fault.Point, effect func() error) error {
	s, last, ok := g.next(p)
	if !ok {
		return effect()
	}
	if last {
		g.atLast()
		close(g.fired)
	}
	return g.fire(s, effect)
}

func (g *gun) fire(s shot, effect func() error) error {
	injected := &jobstep.ClassifiedError{Class: jobstep.ClassConnection, Err: fmt.Errorf("injected: %s at %s", s.Kind, s.Point)}
	switch s.Kind {
	case fail:
		return injected
	case deny:
		if err := effect(); err != nil {
			return err
		}
		return injected
	case lie:
		return nil
	case hang:
		<-g.release
	case crashBefore:
		die()
	case crashAfter:
		_ = effect() // nobody will be there to hear
		die()
	case cut:
		g.world.relay.cut()
	case lost:
		g.world.relay.lose.Store(true)
		err := effect()
		if g.world.relay.lose.Swap(false) {
			return errors.Join(errors.New("no answer came, so none was lost"), err)
		}
		return err
	case write:
		if err := g.world.write(); err != nil {
			return errors.Join(errors.New("the application was disturbed"), err)
		}
	case alter:
		if err := g.world.alter(); err != nil {
			return errors.Join(errors.New("the application was disturbed"), err)
		}
	}
	return effect()
}

// die ends this process as kill -9 does.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
