package workflows

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/internal/jobstep"
)

// mannered is a plan of n chunks, two at once, with manners.
func mannered(n int, m jobstep.Manners) func(jobstep.PlanInput) (jobstep.PlanResult, error) {
	return func(in jobstep.PlanInput) (jobstep.PlanResult, error) {
		m := m
		if in.ChunkBytes > 0 {
			m.ChunkBytes, m.CutBytes = in.ChunkBytes, in.ChunkBytes
		}
		return jobstep.PlanResult{Generation: in.Generation, Chunks: n, RowsEstimate: int64(10 * n), Parallelism: 2, Manners: &m}, nil
	}
}

// beginnings notes when chunks begin, by the workflow's clock.
func beginnings(env *testsuite.TestWorkflowEnvironment) *[]time.Time {
	var at []time.Time
	env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		if info.ActivityType.Name == chunkActivity {
			at = append(at, env.Now())
		}
	})
	return &at
}

// phases records what a job upserts as its phase.
func watchPhases(env *testsuite.TestWorkflowEnvironment) func() string {
	var mu sync.Mutex
	var all []string
	env.OnUpsertTypedSearchAttributes(mock.Anything).Return(nil).Run(func(args mock.Arguments) {
		mu.Lock()
		defer mu.Unlock()
		attrs := args.Get(0).(temporal.SearchAttributes)
		if p, _ := attrs.GetKeyword(AttrPhase); len(all) == 0 || all[len(all)-1] != p {
			all = append(all, p)
		}
	})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(all, ", ")
	}
}

// The rate holds over two lanes: 40 chunks of 10 rows at 5 rows a second take 2 s each, by the timers of the workflow.
func TestRate(t *testing.T) {
	t.Parallel()
	f := &fake{plan: mannered(40, jobstep.Manners{MaxRowsPerSecond: 5})}
	env := newEnv(t, f)
	at := beginnings(env)
	phases := watchPhases(env)
	if err := runFlush(t, env, FlushInput{}); err != nil {
		t.Fatal(err)
	}
	wantSpaced(t, *at, 40, 2*time.Second)
	if got := phases(); !strings.HasPrefix(got, "moving, throttled, moving, throttled") {
		t.Errorf("phases: %s", got)
	}
}

func wantSpaced(t *testing.T, at []time.Time, n int, apart time.Duration) {
	t.Helper()
	if len(at) != n {
		t.Fatalf("%d chunks, want %d", len(at), n)
	}
	for i := range at {
		if d := at[i].Sub(at[0]); d < time.Duration(i)*apart || d > time.Duration(i)*apart+time.Second {
			t.Errorf("chunk %d began after %s, want %s", i, d, time.Duration(i)*apart)
		}
	}
}

// What a chunk has more than it was charged is paid by those after it.
func TestRateOfUnevenChunks(t *testing.T) {
	t.Parallel()
	f := &fake{plan: mannered(8, jobstep.Manners{MaxRowsPerSecond: 10})}
	rows := func(n int) int64 { return []int64{10, 300, 0, 5}[n%4] }
	f.chunk = func(_ context.Context, in jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		return jobstep.ChunkResult{Rows: rows(in.Chunk), Segments: 1}, nil
	}
	env := newEnv(t, f)
	at := beginnings(env)
	if err := runFlush(t, env, FlushInput{}); err != nil {
		t.Fatal(err)
	}
	var sum int64
	for i := range *at {
		if d := (*at)[i].Sub((*at)[0]); i > 1 && d.Seconds() < float64(sum-rows(i-1))/10 { // the one before may be under way
			t.Errorf("chunk %d began after %s, behind %d rows", i, d, sum)
		}
		sum += rows(i)
	}
	if d := (*at)[7].Sub((*at)[0]); d < 60*time.Second {
		t.Errorf("620 rows in %s", d)
	}
}

// A new run goes on where the one before stood: it does not begin with a chunk for nothing.
func TestRateOverRuns(t *testing.T) {
	t.Parallel()
	f := &fake{plan: mannered(20, jobstep.Manners{MaxRowsPerSecond: 5})}
	in := FlushInput{Tuning: Tuning{ChunksPerRun: 6}}
	var all []time.Time
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for run := 0; ; run++ {
		env := newEnv(t, f)
		env.SetStartTime(clock)
		at := beginnings(env)
		err := runFlush(t, env, in)
		all = append(all, *at...)
		clock = env.Now()
		if err == nil {
			break
		}
		var again *workflow.ContinueAsNewError
		if !asContinue(err, &again) || run > 5 {
			t.Fatal(err)
		}
		if err := converter.GetDefaultDataConverter().FromPayloads(again.Input, &in); err != nil {
			t.Fatal(err)
		}
	}
	wantSpaced(t, all, 20, 2*time.Second)
}

func asContinue(err error, target **workflow.ContinueAsNewError) bool {
	for ; err != nil; err = unwrap(err) {
		if e, ok := err.(*workflow.ContinueAsNewError); ok {
			*target = e
			return true
		}
	}
	return false
}

func unwrap(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}

// A busy database is looked at again and again, at growing intervals, and no chunk begins meanwhile.
func TestWaitsForCalm(t *testing.T) {
	t.Parallel()
	f := &fake{plan: mannered(4, jobstep.Manners{ChecksLoad: true})}
	looks := 0
	f.load = func() (jobstep.Load, error) {
		if looks++; looks <= 3 {
			return jobstep.Load{LagBytes: int64(4-looks) << 29}, nil
		}
		return jobstep.Load{}, nil
	}
	env := newEnv(t, f)
	begun := env.Now()
	at := beginnings(env)
	phases := watchPhases(env)
	if err := runFlush(t, env, FlushInput{}); err != nil {
		t.Fatal(err)
	}
	if d := (*at)[0].Sub(begun); d < 7*time.Second || d > 9*time.Second {
		t.Errorf("the first chunk began after %s, want 1 + 2 + 4 s", d)
	}
	want := "moving, waiting: replication lag 1536 MB, waiting: replication lag 1024 MB, waiting: replication lag 512 MB, moving"
	if got := phases(); !strings.HasPrefix(got, want) {
		t.Errorf("phases: %s", got)
	}
	if looks != 4 {
		t.Errorf("%d looks: a calm one holds for a while", looks)
	}
}

// KILL and PAUSE reach a job that waits, and it goes on waiting after RESUME. A look that fails ends the job by its class.
func TestAskedWhileItWaits(t *testing.T) {
	t.Parallel()
	busy := func() (jobstep.Load, error) { return jobstep.Load{LockWaiters: 7}, nil }
	t.Run("kill", func(t *testing.T) {
		t.Parallel()
		f := &fake{plan: mannered(4, jobstep.Manners{ChecksLoad: true}), load: busy}
		env := newEnv(t, f)
		start := env.Now()
		env.RegisterDelayedCallback(env.CancelWorkflow, 40*time.Second)
		if err := runFlush(t, env, FlushInput{}); !temporal.IsCanceledError(err) {
			t.Errorf("%v", err)
		}
		if d := env.Now().Sub(start); d > 41*time.Second || len(f.chunks()) != 0 || f.finished[0].Status != "cancelled" {
			t.Errorf("it ended after %s with chunks %v", d, f.chunks())
		}
	})
	t.Run("pause", func(t *testing.T) {
		t.Parallel()
		for name, m := range map[string]jobstep.Manners{"load": {ChecksLoad: true}, "rate": {MaxRowsPerSecond: 1}} {
			var calm bool
			f := &fake{plan: mannered(4, m)}
			f.load = func() (jobstep.Load, error) {
				if calm {
					return jobstep.Load{}, nil
				}
				return busy()
			}
			env := newEnv(t, f)
			seen := watchStatuses(env)
			var before int
			env.RegisterDelayedCallback(func() { ask(env, pauseIt) }, 14*time.Second)
			env.RegisterDelayedCallback(func() { before = len(f.chunks()) }, 40*time.Second)
			env.RegisterDelayedCallback(func() {
				if n := len(f.chunks()); n != before {
					t.Errorf("%s: %d chunks began while the job was paused", name, n-before)
				}
				calm = true
				ask(env, resumeIt)
			}, time.Hour)
			if err := runFlush(t, env, FlushInput{}); err != nil {
				t.Fatal(err)
			}
			if got := seen.String(); !strings.Contains(got, "pausing, paused, running") || !strings.HasSuffix(got, "running, completed") || len(f.chunks()) != 4 {
				t.Errorf("%s: statuses: %s, chunks: %v", name, got, f.chunks())
			}
		}
	})
	t.Run("no right any more", func(t *testing.T) {
		t.Parallel()
		f := &fake{plan: mannered(4, jobstep.Manners{ChecksLoad: true}), load: func() (jobstep.Load, error) { return jobstep.Load{}, failing(jobstep.ClassPrivilege) }}
		wantFailure(t, runFlush(t, newEnv(t, f), FlushInput{}), jobstep.ClassPrivilege)
		if len(f.chunks()) != 0 {
			t.Errorf("chunks %v", f.chunks())
		}
	})
}

// A job that waits for long continues as a new run, and is not done.
func TestLongWaitContinues(t *testing.T) {
	t.Parallel()
	f := &fake{plan: mannered(4, jobstep.Manners{ChecksLoad: true}), load: func() (jobstep.Load, error) { return jobstep.Load{LagTime: time.Minute}, nil }}
	env := newEnv(t, f)
	env.RegisterDelayedCallback(func() { env.SetContinueAsNewSuggested(true) }, 10*time.Minute)
	var again *workflow.ContinueAsNewError
	if err := runFlush(t, env, FlushInput{}); !asContinue(err, &again) {
		t.Fatalf("%v", err)
	}
	var in FlushInput
	if err := converter.GetDefaultDataConverter().FromPayloads(again.Input, &in); err != nil || in.State.Next != 0 || in.State.End != 4 || in.State.Manners == nil {
		t.Errorf("%+v %v", in.State, err)
	}
}

// Chunks that take too long are cut smaller: the next generation begins where the one before has stopped.
func TestSlowChunksAreCutSmaller(t *testing.T) {
	t.Parallel()
	m := jobstep.Manners{ChunkTime: 5 * time.Second, ChunkBytes: 64 << 20, CutBytes: 64 << 20, MostChunkBytes: 64 << 20}
	f := &fake{}
	var plans []string
	first := 0
	f.plan = func(in jobstep.PlanInput) (jobstep.PlanResult, error) {
		plans = append(plans, fmt.Sprintf("%d: %d from %d", in.Generation, in.ChunkBytes>>20, in.Next))
		p, err := mannered(12, m)(in)
		p.FirstChunk = first
		first += 12
		return p, err
	}
	f.chunk = func(_ context.Context, in jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		took := 20 * time.Second
		if in.Chunk >= 12 {
			took = 5 * time.Second
		}
		return jobstep.ChunkResult{Rows: 10, Segments: 1, Took: took}, nil
	}
	if err := runFlush(t, newEnv(t, f), FlushInput{}); err != nil {
		t.Fatal(err)
	}
	// Two were under way when the first of them told.
	if want := []string{"1: 0 from 0", "2: 16 from 2"}; !slices.Equal(plans, want) {
		t.Errorf("plans %v, want %v", plans, want)
	}
	if n := len(f.chunks()); n != 2+12 {
		t.Errorf("%d chunks", n)
	}
}
