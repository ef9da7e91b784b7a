package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/tests/product"
)

// walk is one job with one fault.
type walk struct {
	op    operation
	first []shot // what leads to the point
	shot  shot
	way   way
}

func (w walk) name() string {
	return strings.ReplaceAll(fmt.Sprintf("%s/%s/%s/%s", w.op, w.shot.Point, w.shot.Kind, w.way), " ", "_")
}

func (w walk) shots() []shot { return append(slices.Clone(w.first), w.shot) }

// points are those of each operation.
var points = map[operation][]fault.Point{
	opFlush: {
		fault.Claim, fault.Plan, fault.AttemptRow, fault.Begin, fault.Take, fault.Lock, fault.Fence, fault.FirstByte, fault.HalfStream,
		fault.FileWritten, fault.Fsync, fault.Link, fault.SyncDir, fault.Upload, fault.FooterCheck, fault.LedgerInsert, fault.ChunkRow,
		fault.Commit, fault.Condemn, fault.Delete, fault.DropAttempt, fault.Manifest, fault.History, fault.TouchTable, fault.FreeTable,
	},
	opScatter: {
		fault.HalfStream, fault.StageObjects, fault.FileWritten, fault.Upload, fault.FooterCheck, fault.LedgerInsert, fault.Commit,
		fault.Condemn, fault.Delete,
	},
	opRestore: {
		fault.Claim, fault.Plan, fault.AttemptRow, fault.Begin, fault.Take, fault.Lock, fault.Fence, fault.RestoreInsert,
		fault.SegmentHistory, fault.ChunkRow, fault.Commit, fault.Condemn, fault.DropAttempt, fault.Manifest, fault.History, fault.FreeTable,
	},
	opRemainder: {
		fault.RestoreInsert, fault.RestoreUnstage, fault.FileWritten, fault.Link, fault.Upload, fault.FooterCheck, fault.LedgerInsert,
		fault.SegmentHistory, fault.Commit, fault.Delete,
	},
	opCleanup: {fault.Plan, fault.Condemn, fault.Findings, fault.Delete, fault.MarkDeleted, fault.MarkSwept, fault.History},
	opStrays:  {fault.Findings, fault.DeleteStray},
}

// elsewhere are the points that other tests reach, and where.
var elsewhere = map[fault.Point]string{
	fault.UploadPart:  "TestBucket",
	fault.LastPart:    "TestBucket",
	fault.Complete:    "TestBucket",
	fault.Heartbeat:   "jobmanager/temporaljobs, TestFaultsOfActivities",
	fault.Activity:    "jobmanager/temporaljobs, TestFaultsOfActivities",
	fault.WorkflowEnd: "jobmanager/temporaljobs, TestFaultsOfActivities",
}

// writable are the points at which applications write meanwhile, and alterable those at which they can change the table.
var (
	writable = []fault.Point{
		fault.Plan, fault.AttemptRow, fault.Begin, fault.Take, fault.Lock, fault.Fence, fault.FirstByte, fault.HalfStream, fault.FileWritten,
		fault.Upload, fault.FooterCheck, fault.LedgerInsert, fault.ChunkRow, fault.Commit,
	}
	alterable = []fault.Point{fault.AttemptRow, fault.Begin, fault.Take, fault.Lock}
)

// before is what has to go wrong first, so that a point is reached at all.
func before(op operation, p fault.Point) []shot {
	if op == opCleanup {
		return nil
	}
	switch p {
	case fault.Condemn, fault.Delete, fault.DropAttempt:
		at := fault.LedgerInsert
		if op == opRestore {
			at = fault.SegmentHistory
		}
		return []shot{{at, fail}}
	}
	return nil
}

// allWalks is the matrix.
func allWalks() (all []walk) {
	for _, op := range []operation{opFlush, opScatter, opRestore, opRemainder, opCleanup, opStrays} {
		for _, p := range points[op] {
			kinds := kindsOf(p)
			if op == opFlush && slices.Contains(writable, p) {
				kinds = append(kinds, write)
			}
			if op == opFlush && slices.Contains(alterable, p) {
				kinds = append(kinds, alter)
			}
			for _, k := range kinds {
				for _, how := range waysOf(k) {
					all = append(all, walk{op: op, first: before(op, p), shot: shot{p, k}, way: how})
				}
			}
		}
	}
	return all
}

// sample takes one way of going on for each operation, point and kind; of operations that share most of their steps with the flush,
// not each of those either.
func sample(all []walk, rnd *rand.Rand) (some []walk) {
	rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	seen, perPoint := map[string]bool{}, map[string]int{}
	for _, w := range all {
		place := fmt.Sprint(w.op, w.shot.Point)
		id := place + fmt.Sprint(w.shot.Kind)
		if seen[id] || w.op != opFlush && perPoint[place] >= 2 {
			continue
		}
		seen[id] = true
		perPoint[place]++
		some = append(some, w)
	}
	return some
}

// chosen are the walks of this run, and how they were chosen.
func chosen(t *testing.T) []walk {
	if product.Long() || os.Getenv("SPILLWAY_FAULTS_ALL") != "" {
		return allWalks()
	}
	seed := uint64(1)
	if text := os.Getenv("SPILLWAY_FAULTS_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SPILLWAY_FAULTS_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("a sample of the walks; SPILLWAY_FAULTS_SEED=%d makes it again, another number another one, SPILLWAY_LONG=1 all", seed)
	return sample(allWalks(), rand.New(rand.NewPCG(seed, seed)))
}

// A10 A29 A31 A34 A35 A36 A37 A56 A64: every point, every kind of fault, every way on.
func TestWalks(t *testing.T) {
	t.Parallel()
	walks := chosen(t)
	c := newCoverage()
	lanes := make(chan *lane, 64)
	t.Run("all", func(t *testing.T) {
		for _, w := range walks {
			t.Run(w.name(), func(t2 *testing.T) {
				t2.Parallel()
				var l *lane
				select {
				case l = <-lanes:
				default:
					l = newLane(t) // it outlives this walk
				}
				w.take(t2, l, c)
				if !t2.Failed() { // a lane in which something went wrong is left as it is
					lanes <- l
				}
			})
		}
	})
	c.print(t)
	if filtered() {
		return // some of the walks were not asked for
	}
	for _, p := range fault.Points() {
		if _, there := elsewhere[p]; !there && c.of(p) == 0 {
			t.Errorf("the point %q was never reached", p)
		}
	}
}

// take walks.
func (w walk) take(t *testing.T, l *lane, c *coverage) {
	j := l.furnish(t, w.op)
	err := w.suffer(l, j)
	if err != nil {
		t.Fatalf("the job does not go on after the fault: %v", err)
	}
	l.settle()
	if w.shot.Kind == lie && w.shot.Point == fault.Delete && w.op != opCleanup {
		// An object is left of an attempt whose row is gone. (A clean-up keeps the row, and the next one looks again.)
		l.lookForStrays(1)
	}
	if w.op == opStrays { // a clean-up that was killed, or was told a lie, may have left some: whoever looks finds them
		l.lookForStrays(0)
	}
	l.judge()
	if c != nil && !t.Failed() {
		c.add(w)
	}
}

// suffer runs the job into its fault and on. An error means that it could not go on.
func (w walk) suffer(l *lane, j job) error {
	ctx := context.Background()
	if w.shot.Kind == crashBefore || w.shot.Kind == crashAfter {
		if err := crash(order{URL: l.db.WorkerURL, Job: j, Shots: w.shots()}); err != nil {
			return err
		}
		return w.goOn(l, j)
	}
	g := newGun(w.shots()...)
	g.world = l
	victim := l.victim()
	defer victim.close()
	victimCtx, cancel := context.WithCancel(fault.With(ctx, g.hook))
	defer cancel()
	if w.way == kill && w.shot.Kind != hang {
		g.atLast = cancel
	}
	tries := 1
	if w.way == retry {
		tries = 3
	}
	done := make(chan error, 1)
	go func() { done <- victim.drive(victimCtx, j, tries) }()
	if w.shot.Kind == hang {
		return w.hang(l, j, victim, g, cancel, done)
	}
	err := <-done
	select {
	case <-g.fired:
	default:
		return errors.Join(errNotReached, err)
	}
	if w.way == retry || err == nil { // it may have found out by itself that all was well
		return err
	}
	victim.close()
	return w.goOn(l, j)
}

// goOn ends the job of a process that is gone.
func (w walk) goOn(l *lane, j job) error {
	if w.way == kill {
		return l.healthy.kill(context.Background(), j)
	}
	return l.healthy.drive(context.Background(), j, 3)
}

// hang goes on beside a process that hangs, and lets it wake up.
func (w walk) hang(l *lane, j job, victim *machine, g *gun, cancel func(), done chan error) error {
	ctx := context.Background()
	select {
	case err := <-done:
		return errors.Join(errNotReached, err)
	case <-g.fired:
	}
	var once sync.Once
	wake := func() {
		once.Do(func() {
			victim.stopped.Store(true)
			close(g.release)
			<-done // whatever it says: others have decided
		})
	}
	defer wake()
	switch w.way {
	case retry:
		return l.healthy.drive(ctx, j, 4)
	case kill:
		cancel()
		return l.healthy.kill(ctx, j)
	case woken:
		if _, err := l.healthy.f.Sweep(ctx, j.ID); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		wake()
		return l.healthy.drive(ctx, j, 3)
	}
	if err := l.healthy.finish(ctx, j, "cancelled"); err != nil {
		return err
	}
	return l.healthy.drive(ctx, l.job(opCleanup, opCleanup.params()), 3)
}

// filtered reports whether -run names some of the walks only.
func filtered() bool {
	return strings.Contains(runFlag(), "/")
}
