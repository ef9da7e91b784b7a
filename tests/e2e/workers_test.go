package e2e

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
)

// sharedFlush is a flush that two processes with one slot each have in hand: two of its chunks are held at the gate at the
// same time, so each process has one.
func sharedFlush(t testing.TB, u *up, name string) *middle {
	t.Helper()
	m := &middle{tb: u.table(t, name, middleRows)}
	m.gate = m.tb.gate("OLD.id >= 1000")
	m.id = u.super(t).flush(m.tb, fire(small, "parallelism = 2")).id
	m.pids = m.gate.held(m.id, 2)
	m.segments = m.tb.segments()
	return m
}

// A37: SIGSTOP to a worker in the middle of a chunk, beyond its heartbeat timeout; the other one gets the rows. SIGCONT: the
// zombie finds that it has nothing left to say.
func TestFrozenWorker(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--slots", "1", "--heartbeat-timeout", "2s")
	second := u.startWorker("--slots", "1")
	m := sharedFlush(t, u, "frozen")
	second.Signal(syscall.SIGSTOP)
	m.gate.open()
	s := u.super(t)
	m.completes(s) // by the first process alone: the other one stands still
	await.Until(t, "the backend of the frozen worker is gone, and so is the other's, which served its last chunk", func() bool { return gone(t, u.db, m.pids) })
	segments, files := m.tb.segments(), m.tb.objects()
	said := len(second.Err.String())

	second.Signal(syscall.SIGCONT)
	await.Until(t, "the zombie has noticed", func() bool { return len(second.Err.String()) > said })
	second.Terminate()
	if after := m.tb.segments(); !slices.Equal(after, segments) {
		t.Errorf("the zombie changed the ledger: %d segments, before %d", len(after), len(segments))
	}
	if after := m.tb.objects(); !slices.Equal(after, files) {
		t.Errorf("the zombie changed the storage: %d files, before %d", len(after), len(files))
	}
	if j := s.job(m.id); j.Status != "completed" || j.Rows != middleRows {
		t.Errorf("%+v", j)
	}
	u.Terminate()
}

// A34: kill -9 of a second worker in mid-flush. The first goes on, the job's id stays.
func TestKilledWorker(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--slots", "1", "--heartbeat-timeout", "2s")
	second := u.startWorker("--slots", "1")
	m := sharedFlush(t, u, "killed_worker")
	second.Kill()
	m.gate.open()
	m.completes(u.super(t))
	u.Terminate()
}

// A51: two workers share one flush and both write segments; two front-ends accept commands and see the same.
func TestTwoProcessesShareAFlush(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--slots", "1")
	second := u.startWorker("--slots", "1")
	m := sharedFlush(t, u, "both")
	front := product.Start(t, binary, nil, "front", "--database-url", u.db.WorkerURL, "--temporal-address", u.info.TemporalAddress,
		"--sql-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--log-format", "json")
	front.Ready()
	one, other := u.super(t), u.connectTo(t, front, u.db.SuperURL)
	if a := other.flush(m.tb, fire(small, "parallelism = 2")); a.id != m.id || !a.existing {
		t.Errorf("the other front-end answers %+v", a)
	}
	elsewhere := u.table(t, "elsewhere", 200)
	there := other.flush(elsewhere, "") // accepted there, done by whoever has a slot
	if n := len(one.jobs("WHERE job_id = '" + there.id + "'")); n != 1 {
		t.Errorf("the first front-end sees %d jobs of the other's", n)
	}
	m.gate.open()
	m.completes(one)
	one.wait(there.id, "completed")
	for _, id := range []string{m.id, there.id} {
		a, b := one.job(id), other.job(id)
		if a.Status != b.Status || a.Rows != b.Rows || !a.FinishedAt.Equal(*b.FinishedAt) {
			t.Errorf("the front-ends see %+v and %+v", a, b)
		}
	}

	chunks := chunksByWorker(t, u, one.job(m.id))
	rows := map[int]int64{}
	for _, g := range m.tb.segments() {
		rows[g.Chunk] = g.Rows
	}
	for _, p := range []*product.Process{u.Process, second} {
		wrote := int64(0)
		for _, chunk := range chunks[p.PID()] {
			wrote += rows[chunk]
		}
		if wrote == 0 {
			t.Errorf("process %d wrote nothing: %v", p.PID(), chunks)
		}
	}
	if n := len(chunks[u.PID()]) + len(chunks[second.PID()]); n != len(m.tb.segments()) {
		t.Errorf("%d chunks were completed for %d segments: %v", n, len(m.tb.segments()), chunks)
	}
	second.Terminate()
	front.Terminate()
	u.Terminate()
}

// connectTo is connect through another front-end.
func (u *up) connectTo(t testing.TB, front *product.Process, direct string) session {
	t.Helper()
	other := *u
	other.info.SQLURL = front.Ready()
	return other.connect(t, direct)
}

// chunksByWorker reads in the workflow's history which process completed which chunks of a job, by process id.
func chunksByWorker(t testing.TB, u *up, j job) map[int][]int {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: u.info.TemporalAddress, Namespace: u.info.Namespace, Logger: silent{}})
	must(t, err)
	defer c.Close()
	moved := map[int64]int{} // by the number of the event that scheduled it
	chunks := map[int][]int{}
	events := c.GetWorkflowHistory(context.Background(), j.WorkflowID, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		must(t, err)
		if s := e.GetActivityTaskScheduledEventAttributes(); s.GetActivityType().GetName() == "MoveChunk" {
			var in struct{ Chunk int }
			must(t, converter.GetDefaultDataConverter().FromPayloads(s.GetInput(), &in))
			moved[e.GetEventId()] = in.Chunk
		}
		if done := e.GetActivityTaskCompletedEventAttributes(); done != nil {
			if chunk, ok := moved[done.GetScheduledEventId()]; ok {
				pid := pidOf(t, done.GetIdentity())
				chunks[pid] = append(chunks[pid], chunk)
			}
		}
	}
	return chunks
}

// silent keeps the SDK's own log away.
type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}

// pidOf reads the process id in a worker's identity, which the SDK makes of it and the host's name.
func pidOf(t testing.TB, identity string) int {
	t.Helper()
	text, _, _ := strings.Cut(identity, "@")
	pid, err := strconv.Atoi(text)
	must(t, err)
	return pid
}
