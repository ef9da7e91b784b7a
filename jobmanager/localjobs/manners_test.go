package localjobs_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest/steptest"
	"github.com/spillwaydb/spillway/jobmanager/localjobs"
)

// busySteps are steps of a job with manners, over a database that is busy as the test says.
type busySteps struct {
	*steptest.Steps
	manners jobstep.Manners
	load    func() jobstep.Load
	took    time.Duration
	plans   chan jobstep.PlanInput
}

func (s *busySteps) Plan(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	p, err := s.Steps.Plan(ctx, in)
	m := s.manners
	if in.ChunkBytes > 0 {
		m.ChunkBytes, m.CutBytes = in.ChunkBytes, in.ChunkBytes
	}
	p.Manners = &m
	p.FirstChunk, p.Chunks = in.Next, p.Chunks-in.Next
	s.plans <- in
	return p, err
}

func (s *busySteps) Load(context.Context, jobstep.LoadInput) (jobstep.Load, error) {
	return s.load(), nil
}

func (s *busySteps) RunChunk(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	res, err := s.Steps.RunChunk(ctx, in, progress)
	if res.Took = s.took; in.Chunk >= 3 {
		res.Took = time.Second
	}
	return res, err
}

func busyManager(t *testing.T, chunks int, s *busySteps) *localjobs.Manager {
	t.Helper()
	work, l := jobmanagertest.NewWork(), steptest.NewLedger()
	work.Table(events).SetChunks(chunks)
	s.Steps, s.plans = &steptest.Steps{Work: work, Ledger: l, Alive: context.Background()}, make(chan jobstep.PlanInput, 10)
	m, err := localjobs.New(s, l, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Stop(context.Background()) })
	return m
}

func ended(t *testing.T, m *localjobs.Manager, id jobmanager.JobID) jobmanager.JobInfo {
	t.Helper()
	info, err := m.WaitJob(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// A rate is a lower bound of how long a job takes: 5 chunks at 20 a second begin in no less than 4/20 s.
func TestLocalRate(t *testing.T) {
	t.Parallel()
	m := busyManager(t, 5, &busySteps{manners: jobstep.Manners{MaxRowsPerSecond: 20 * jobmanagertest.RowsPerChunk}})
	begin := time.Now()
	s, err := m.StartJob(t.Context(), flushOf(events))
	if err != nil {
		t.Fatal(err)
	}
	if info := ended(t, m, s.ID); info.Status != jobmanager.Completed || info.RowsFlushed != 5*jobmanagertest.RowsPerChunk || time.Since(begin) < 200*time.Millisecond {
		t.Errorf("%s after %s: %+v", info.Status, time.Since(begin), info)
	}
}

// A job that waits for a calm database says so, can be paused, resumed and killed, and goes on when it is calm.
func TestLocalWaitsForCalm(t *testing.T) {
	t.Parallel()
	var busy atomic.Bool
	looked := make(chan struct{}, 100)
	newJob := func() (*localjobs.Manager, jobmanager.JobID) {
		m := busyManager(t, 4, &busySteps{manners: jobstep.Manners{ChecksLoad: true}, load: func() jobstep.Load {
			looked <- struct{}{}
			if busy.Load() {
				return jobstep.Load{LagBytes: 20 << 20}
			}
			return jobstep.Load{}
		}})
		s, err := m.StartJob(t.Context(), flushOf(events))
		if err != nil {
			t.Fatal(err)
		}
		<-looked
		return m, s.ID
	}
	busy.Store(true)
	m, id := newJob()
	<-looked // the second look is after the first was shown
	info, err := m.JobStatus(t.Context(), id)
	if err != nil || info.Phase != "waiting: replication lag 20 MB" || info.ChunksDone != 0 {
		t.Errorf("%+v %v", info, err)
	}
	if err := m.PauseJob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := m.ResumeJob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	busy.Store(false)
	if info := ended(t, m, id); info.Status != jobmanager.Completed || info.ChunksDone != 4 {
		t.Errorf("%+v", info)
	}
	busy.Store(true)
	m, id = newJob()
	if err := m.CancelJob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if info := ended(t, m, id); info.Status != jobmanager.Cancelled || info.ChunksDone != 0 {
		t.Errorf("%+v", info)
	}
}

func TestLocalSlowChunksAreCutSmaller(t *testing.T) {
	t.Parallel()
	steps := &busySteps{took: 20 * time.Second, manners: jobstep.Manners{ChunkTime: 5 * time.Second, ChunkBytes: 64 << 20, CutBytes: 64 << 20, MostChunkBytes: 64 << 20}}
	m := busyManager(t, 12, steps)
	s, err := m.StartJob(t.Context(), flushOf(events))
	if err != nil {
		t.Fatal(err)
	}
	if info := ended(t, m, s.ID); info.Status != jobmanager.Completed || info.ChunksDone != 12 {
		t.Errorf("%+v", info)
	}
	first, second := <-steps.plans, <-steps.plans
	if first.ChunkBytes != 0 || second.Generation != 2 || second.ChunkBytes != 16<<20 || second.Next < 1 || second.Next > 3 || !strings.HasPrefix(second.JobID, "flush:") {
		t.Errorf("%+v, %+v", first, second)
	}
}
