package jobmanagertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/jobmanager"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// Failure is an error of a chunk that a harness turns into an error of its manager's flush steps.
type Failure struct {
	Class     string
	Retryable bool
}

func (f *Failure) Error() string { return "class " + f.Class }

// Work stands in for the moving of rows. Tests say what it does, table by table; a harness plans and runs its jobs' chunks
// by it.
type Work struct {
	begun chan jobmanager.Table

	mu      sync.Mutex
	tables  map[jobmanager.Table]*Script
	running int
	most    int
}

// NewWork returns work in which every table is empty.
func NewWork() *Work {
	return &Work{begun: make(chan jobmanager.Table, 1<<16), tables: make(map[jobmanager.Table]*Script)}
}

// Table returns the script of a table.
func (w *Work) Table(t jobmanager.Table) *Script {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.tables[t]
	if s == nil {
		s = &Script{work: w, table: t, begun: make(chan int, 1<<16), gate: make(chan struct{}), pass: make(chan struct{}, 1<<16), moved: make(map[int]int)}
		close(s.gate)
		w.tables[t] = s
	}
	return s
}

// Most returns how many chunks ran at once, at most.
func (w *Work) Most() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most
}

// AwaitBegun waits until a chunk of any table has begun and returns its table. Each begin is returned once.
func (w *Work) AwaitBegun(t testing.TB) jobmanager.Table {
	t.Helper()
	select {
	case c := <-w.begun:
		return c
	case <-time.After(patience):
		t.Fatal("no chunk has begun")
		return jobmanager.Table{}
	}
}

func (w *Work) count(by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running += by
	w.most = max(w.most, w.running)
}

// Script says what happens to the chunks of one table.
type Script struct {
	work  *Work
	table jobmanager.Table
	begun chan int
	pass  chan struct{} // one token lets one held chunk through

	mu       sync.Mutex
	chunks   int
	gate     chan struct{} // closed: nothing is held
	stubborn bool
	fail     func(chunk, attempt int) error
	moved    map[int]int
}

// SetChunks says how many chunks the next plan of the table has.
func (s *Script) SetChunks(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunks = n
}

// Hold makes chunks that begin from now on wait for Open or Pass.
func (s *Script) Hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = make(chan struct{})
}

// Open lets all chunks go.
func (s *Script) Open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.gate)
}

// Pass lets n chunks go.
func (s *Script) Pass(n int) {
	for range n {
		s.pass <- struct{}{}
	}
}

// SetStubborn makes held chunks ignore the end of their context, as a transaction does that is about to commit.
func (s *Script) SetStubborn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stubborn = true
}

// SetFailure makes chunks end with what fail returns, if that is not nil.
func (s *Script) SetFailure(fail func(chunk, attempt int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// AwaitBegun waits until a chunk has begun and returns its number. Each begin is returned once.
func (s *Script) AwaitBegun(t testing.TB) int {
	t.Helper()
	select {
	case c := <-s.begun:
		return c
	case <-time.After(patience):
		t.Fatal("no chunk has begun")
		return 0
	}
}

// Begun returns how many chunks have begun that AwaitBegun has not returned.
func (s *Script) Begun() int { return len(s.begun) }

// Moved returns how many chunks were moved. A chunk that was moved twice is an error.
func (s *Script) Moved() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, n := range s.moved {
		if n > 1 {
			return 0, fmt.Errorf("chunk %d was moved %d times", c, n)
		}
	}
	return len(s.moved), nil
}

// Plan is for harnesses: it returns how many chunks a job has.
func (s *Script) Plan() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.moved)
	return s.chunks
}

// RunChunk is for harnesses: it moves a chunk. The error is ctx's, a *Failure, or nil.
func (s *Script) RunChunk(ctx context.Context, chunk, attempt int) error {
	s.mu.Lock()
	gate, stubborn, fail := s.gate, s.stubborn, s.fail
	s.mu.Unlock()

	s.work.count(1)
	defer s.work.count(-1)
	s.begun <- chunk
	s.work.begun <- s.table
	done := ctx.Done()
	if stubborn {
		done = nil
	}
	select {
	case <-gate:
	case <-s.pass:
	case <-done:
		return context.Cause(ctx)
	}
	if fail != nil {
		if err := fail(chunk, attempt); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved[chunk]++
	return nil
}
