package faults

import (
	"context"
	"testing"

	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/tests/audit"
)

// A23 A37: a process hangs just before its manifest takes its name, and wakes up when others have put the segments back that it
// lists. The walks do not see this: the flush at their end publishes anew.
func TestLateManifest(t *testing.T) {
	t.Parallel()
	l := newLane(t)
	j := l.furnish(t, opFlush)
	g := newGun(shot{fault.Manifest, hang})
	victim := l.victim()
	defer victim.close()
	done := make(chan error, 1)
	go func() { done <- victim.drive(fault.With(context.Background(), g.hook), j, 1) }()
	select {
	case <-g.fired:
	case err := <-done:
		t.Fatalf("%v: %v", errNotReached, err)
	}
	l.run(j)
	l.run(l.job(opRestore, l.params(opRestore)))
	victim.stopped.Store(true)
	close(g.release)
	<-done // it may say that its manifest could not be written
	audit.Storage(t, l.db.SuperURL, l.dir)
	l.settle()
	l.judge()
}
