package command

import (
	"sync/atomic"
	"testing"
	"time"
)

// Whoever is still registered is called, all at once, and nobody can hold up the end.
func TestLastRites(t *testing.T) {
	t.Parallel()
	var called atomic.Int32
	release := make(chan struct{})
	l := &lastRites{}
	l.add(func() { called.Add(1) })
	l.add(func() { called.Add(10) })
	l.add(func() { called.Add(100) })()
	l.add(func() { <-release })
	done := make(chan struct{})
	go func() { l.run(50 * time.Millisecond); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the end was held up")
	}
	close(release)
	if got := called.Load(); got != 11 {
		t.Errorf("called %d, want 11", got)
	}
	var none *lastRites
	none.add(func() {})()
}
