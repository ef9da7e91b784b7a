package temporaljobs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workerpb "go.temporal.io/api/worker/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/spillwaydb/spillway/workflows"
)

// HeartbeatEvery is how often the clients of workers tell that they are alive: client.Options.WorkerHeartbeatInterval.
const HeartbeatEvery = 5 * time.Second

// silence is how long a worker may say nothing until that is told.
const silence = 4 * HeartbeatEvery

// WorkerStatus says how a worker is.
type WorkerStatus string

// The statuses. One that has stopped is not listed.
const (
	WorkerRunning  WorkerStatus = "running"
	WorkerStopping WorkerStatus = "stopping" // takes no more chunks, and ends those that it has
	WorkerSilent   WorkerStatus = "silent"   // killed, frozen or cut off
)

// WorkerInfo describes a worker of the installation: a process that moves chunks.
type WorkerInfo struct {
	Identity   string
	Host       string // "" if it is not known
	PID        string // the same
	TaskQueue  string // of its chunks
	SlotsUsed  *int64 // nil if it is not known, as all that follows
	SlotsTotal *int64
	Build      string
	Status     WorkerStatus
	StartedAt  *time.Time
	LastSeen   *time.Time
}

// Workers lists the workers that the installation has, by host and name.
//
// They are known by their heartbeats, of which Temporal keeps the last one for some minutes in memory: a worker that was
// killed is listed as silent until then. Of one that has just started, or whose server takes no heartbeats, only its name is
// known, for it polls.
func (m *Manager) Workers(ctx context.Context) ([]WorkerInfo, error) {
	queue := workflows.ChunkTaskQueue(workflows.TaskQueue(m.opt.Installation))
	pollers, err := m.pollers(ctx, queue)
	if err != nil {
		return nil, err
	}
	beats, err := m.heartbeats(ctx, queue)
	if err != nil {
		return nil, err
	}
	polls := make(map[string]*taskqueuepb.PollerInfo, len(pollers))
	for _, p := range pollers {
		polls[p.GetIdentity()] = p
	}
	var list []WorkerInfo
	for _, b := range beats {
		info := infoOfHeartbeat(b)
		info.Build = polls[info.Identity].GetDeploymentOptions().GetBuildId()
		quiet := info.LastSeen != nil && m.opt.Now().Sub(*info.LastSeen) > silence
		switch {
		case quiet && info.Status == WorkerStopping:
			continue // that was its last word
		case quiet:
			info.Status = WorkerSilent
		}
		list = append(list, info)
	}
	for _, b := range beats {
		delete(polls, b.GetWorkerIdentity())
	}
	for _, p := range polls {
		list = append(list, infoOfPoller(p, queue))
	}
	slices.SortFunc(list, func(a, b WorkerInfo) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Identity, b.Identity))
	})
	return list, nil
}

func infoOfPoller(p *taskqueuepb.PollerInfo, queue string) WorkerInfo {
	seen := p.GetLastAccessTime().AsTime()
	return WorkerInfo{Identity: p.GetIdentity(), TaskQueue: queue, Build: p.GetDeploymentOptions().GetBuildId(), Status: WorkerRunning, LastSeen: &seen}
}

// pollers returns who has asked a task queue for activities lately.
func (m *Manager) pollers(ctx context.Context, queue string) ([]*taskqueuepb.PollerInfo, error) {
	d, err := m.client.DescribeTaskQueue(ctx, queue, enumspb.TASK_QUEUE_TYPE_ACTIVITY)
	if err != nil && !notFound(err) {
		return nil, failed(ctx, "describe task queue", err)
	}
	return d.GetPollers(), nil
}

// heartbeats returns the last sign of life of every worker of a task queue. A server that knows no heartbeats has none.
func (m *Manager) heartbeats(ctx context.Context, queue string) ([]*workerpb.WorkerHeartbeat, error) {
	var keys []string
	request := &workflowservice.ListWorkersRequest{Namespace: m.opt.Namespace, PageSize: pageSize, Query: "TaskQueue = '" + queue + "'"}
	for {
		page, err := m.client.WorkflowService().ListWorkers(ctx, request)
		var unknown *serviceerror.Unimplemented
		if errors.As(err, &unknown) {
			return nil, nil
		}
		if err != nil {
			return nil, failed(ctx, "list workers", err)
		}
		for _, w := range page.GetWorkers() {
			keys = append(keys, w.GetWorkerInstanceKey())
		}
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			return m.describeWorkers(ctx, keys)
		}
	}
}

// describeWorkers asks for the workers one by one, for lists leave the slots out. One that is gone meanwhile is left out.
func (m *Manager) describeWorkers(ctx context.Context, keys []string) ([]*workerpb.WorkerHeartbeat, error) {
	beats := make([]*workerpb.WorkerHeartbeat, len(keys))
	errs := make([]error, len(keys))
	limit := make(chan struct{}, describers)
	var all sync.WaitGroup
	for i, key := range keys {
		all.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			d, err := m.client.WorkflowService().DescribeWorker(ctx, &workflowservice.DescribeWorkerRequest{Namespace: m.opt.Namespace, WorkerInstanceKey: key})
			if err != nil && !notFound(err) {
				errs[i] = failed(ctx, "describe worker", err)
			}
			beats[i] = d.GetWorkerInfo().GetWorkerHeartbeat()
		})
	}
	all.Wait()
	return slices.DeleteFunc(beats, func(b *workerpb.WorkerHeartbeat) bool { return b == nil }), errors.Join(errs...)
}

func infoOfHeartbeat(b *workerpb.WorkerHeartbeat) WorkerInfo {
	info := WorkerInfo{
		Identity: b.GetWorkerIdentity(), Host: b.GetHostInfo().GetHostName(), PID: b.GetHostInfo().GetProcessId(), TaskQueue: b.GetTaskQueue(),
		Status: WorkerRunning,
	}
	if b.GetStatus() == enumspb.WORKER_STATUS_SHUTTING_DOWN || b.GetStatus() == enumspb.WORKER_STATUS_SHUTDOWN {
		info.Status = WorkerStopping
	}
	s := b.GetActivityTaskSlotsInfo()
	used, free := int64(s.GetCurrentUsedSlots()), int64(s.GetCurrentAvailableSlots())
	if total := used + free; total > 0 && free >= 0 { // the first heartbeat does not know them yet
		info.SlotsUsed, info.SlotsTotal = &used, &total
	}
	if t := b.GetStartTime(); t != nil {
		at := t.AsTime()
		info.StartedAt = &at
	}
	if t := b.GetHeartbeatTime(); t != nil {
		at := t.AsTime()
		info.LastSeen = &at
	}
	return info
}
