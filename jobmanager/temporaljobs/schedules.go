package temporaljobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/workflows"
)

// ScheduleLedger is the part of *ledger.Ledger that Schedules needs.
type ScheduleLedger interface {
	CreateSchedule(ctx context.Context, s ledger.ScheduleRow) error
	Schedule(ctx context.Context, name string) (ledger.ScheduleRow, error)
	ScheduleByID(ctx context.Context, id uuid.UUID) (ledger.ScheduleRow, error)
	Schedules(ctx context.Context) ([]ledger.ScheduleRow, error)
	SetScheduleState(ctx context.Context, id uuid.UUID, state string) error
	SetSchedulePaused(ctx context.Context, id uuid.UUID, by *string) error
	DeleteSchedule(ctx context.Context, id uuid.UUID) error
}

// Schedules keeps the schedules of an installation: what they do in the ledger, when in Temporal. The ledger comes first in
// every step, so that Reconcile can finish what a crash left half done.
type Schedules struct {
	client client.Client
	ledger ScheduleLedger
	opt    ScheduleOptions
}

// ScheduleOptions describe the installation. Installation is required.
type ScheduleOptions struct {
	Installation string
	Namespace    string // default "default"
	Now          func() time.Time
}

// NewSchedules returns the schedules of an installation. It talks to nobody yet.
func NewSchedules(c client.Client, l ScheduleLedger, opt ScheduleOptions) (*Schedules, error) {
	if c == nil || l == nil || opt.Installation == "" {
		return nil, errors.New("schedules need a client, a ledger and an installation")
	}
	if opt.Namespace == "" {
		opt.Namespace = client.DefaultNamespace
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Schedules{client: c, ledger: l, opt: opt}, nil
}

// ScheduleError is returned by Create when Temporal refuses a timing that nobody before did.
type ScheduleError struct{ Msg string }

func (e *ScheduleError) Error() string { return e.Msg }

// MaxBackfill is how many times one Backfill may cover.
const MaxBackfill = 100

// BackfillError is returned by Backfill for a span of time that holds none of the schedule's times, or too many.
type BackfillError struct{ None bool }

func (e *BackfillError) Error() string {
	if e.None {
		return "the schedule has no time in that span"
	}
	return fmt.Sprintf("the schedule has more than %d times in that span", MaxBackfill)
}

// ScheduleInfo is a schedule with what Temporal says of it.
type ScheduleInfo struct {
	ledger.ScheduleRow
	Known   bool // Temporal knows it
	Paused  bool
	Note    string
	Next    []time.Time // soonest first
	Missed  *int64      // times that passed while nothing could run, beyond the catch-up window; nil: not asked for
	Skipped *int64      // times at which a run had not ended; nil: not asked for
}

// fresh is how long Temporal's list may not know of a change yet.
const fresh = 10 * time.Second

// Create enters a schedule; ID, TemporalID and State are not the caller's. Errors: ledger.ErrScheduleExists, *ScheduleError.
func (s *Schedules) Create(ctx context.Context, row ledger.ScheduleRow) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("new schedule id: %w", err)
	}
	row.ID, row.TemporalID = id, workflows.ScheduleID(s.opt.Installation, row.Name)
	if err := s.ledger.CreateSchedule(ctx, row); err != nil {
		return err
	}
	if err := s.put(ctx, row); err != nil {
		var bad *serviceerror.InvalidArgument
		if errors.As(err, &bad) { // it will never be taken: nothing is there to be finished
			return errors.Join(&ScheduleError{Msg: bad.Message}, s.ledger.DeleteSchedule(context.WithoutCancel(ctx), id))
		}
		// Temporal may have it all the same. Whoever asked was told that it failed: both forget it, now or by Reconcile.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropPatience)
		defer cancel()
		return errors.Join(failed(ctx, "create schedule", err), s.drop(clean, row))
	}
	return s.ledger.SetScheduleState(ctx, id, ledger.ScheduleReady)
}

// put lets Temporal know a schedule, in place of any other with its id.
func (s *Schedules) put(ctx context.Context, row ledger.ScheduleRow) error {
	opts := s.options(row)
	for range 2 {
		_, err := s.client.ScheduleClient().Create(ctx, opts)
		if !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
			return err
		}
		handle := s.client.ScheduleClient().GetHandle(ctx, row.TemporalID)
		d, err := handle.Describe(ctx)
		if err == nil && memoID(d.Memo.GetFields()[workflows.MemoSchedule]) == row.ID.String() {
			return nil
		}
		if err == nil {
			err = handle.Delete(ctx)
		}
		if err != nil && !notFound(err) {
			return err
		}
	}
	return fmt.Errorf("another schedule with the id %q does not make way", row.TemporalID)
}

func (s *Schedules) options(row ledger.ScheduleRow) client.ScheduleOptions {
	spec := client.ScheduleSpec{Jitter: time.Duration(row.JitterSeconds) * time.Second}
	if row.Cron != "" {
		spec.CronExpressions, spec.TimeZoneName = []string{row.Cron}, row.Zone
	} else {
		spec.Intervals = []client.ScheduleIntervalSpec{{Every: time.Duration(row.EverySeconds) * time.Second}}
	}
	note := ""
	if row.PausedBy != nil {
		note = pausedNote(*row.PausedBy)
	}
	attrs := []temporal.SearchAttributeUpdate{
		workflows.AttrInstallation.ValueSet(workflows.Keyword(jobmanager.EscapeName(s.opt.Installation))),
		workflows.AttrJobType.ValueSet(row.JobType),
		workflows.AttrUser.ValueSet(workflows.Keyword(row.CreatedBy)),
	}
	if row.Table != "" {
		attrs = append(attrs, workflows.AttrTable.ValueSet(workflows.Keyword(jobmanager.Table{Namespace: row.Schema, Name: row.Table}.String())))
	}
	return client.ScheduleOptions{
		ID: row.TemporalID, Spec: spec, Overlap: overlaps[row.Overlap], CatchupWindow: time.Duration(row.CatchupSeconds) * time.Second, PauseOnFailure: row.PauseOnFailure,
		Paused: row.PausedBy != nil, Note: note, Memo: map[string]any{workflows.MemoSchedule: row.ID.String()}, TypedSearchAttributes: temporal.NewSearchAttributes(attrs...),
		Action: &client.ScheduleWorkflowAction{
			ID: row.TemporalID, Workflow: workflows.ScheduledRunName, Args: []any{workflows.ScheduleInput{Name: row.Name, ID: row.ID.String()}},
			TaskQueue: workflows.TaskQueue(s.opt.Installation), StaticSummary: summary(row),
			StaticDetails: fmt.Sprintf("A run of the schedule `%s` of user `%s`. Its statement is in `system.schedules`: it may hold values of rows, which have no place here.", row.Name, row.CreatedBy),
		},
	}
}

// summary says what a schedule does, without its predicate.
func summary(row ledger.ScheduleRow) string {
	switch {
	case row.Table != "":
		return row.JobType + " " + jobmanager.Table{Namespace: row.Schema, Name: row.Table}.String()
	case row.Schema != "":
		return row.JobType + " the tables of " + row.Schema
	case row.Scope == ledger.ScopeAll && row.JobType != "cleanup":
		return row.JobType + " all tables"
	}
	return row.JobType
}

var overlaps = map[string]enumspb.ScheduleOverlapPolicy{
	"skip": enumspb.SCHEDULE_OVERLAP_POLICY_SKIP, "buffer_one": enumspb.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE, "allow": enumspb.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL,
}

func pausedNote(by string) string { return "paused by " + by }

// Describe returns a schedule with all that Temporal says of it. Error: ledger.ErrNotFound.
func (s *Schedules) Describe(ctx context.Context, name string) (ScheduleInfo, error) {
	row, err := s.ledger.Schedule(ctx, name)
	if err != nil {
		return ScheduleInfo{}, err
	}
	info := ScheduleInfo{ScheduleRow: row, Paused: row.PausedAt != nil}
	d, err := s.client.ScheduleClient().GetHandle(ctx, row.TemporalID).Describe(ctx)
	if notFound(err) {
		return info, nil
	}
	if err != nil {
		return info, failed(ctx, "describe schedule", err)
	}
	info.Known, info.Paused, info.Note, info.Next = true, d.Schedule.State.Paused, d.Schedule.State.Note, s.future(d.Info.NextActionTimes)
	if len(info.Next) < nextTimes { // one that is paused counts from when it was
		if info.Next, err = s.next(ctx, row.TemporalID); err != nil {
			return info, failed(ctx, "list the times of a schedule", err)
		}
	}
	info.Missed, info.Skipped = number(d.Info.NumActionsMissedCatchupWindow), number(d.Info.NumActionsSkippedOverlap)
	return info, nil
}

// nextTimes is how many times ahead Describe looks.
const nextTimes = 10

// next lists the next times of a schedule, fewer than nextTimes if it has no more. It asks for longer and longer spans, for an
// answer holds at most a thousand times.
func (s *Schedules) next(ctx context.Context, id string) ([]time.Time, error) {
	now := s.opt.Now()
	var times []time.Time
	for _, days := range []int{1, 31, 366, 3660, 27_000} {
		match, err := s.client.WorkflowService().ListScheduleMatchingTimes(ctx, &workflowservice.ListScheduleMatchingTimesRequest{
			Namespace: s.opt.Namespace, ScheduleId: id, StartTime: timestamppb.New(now), EndTime: timestamppb.New(now.AddDate(0, 0, days)),
		})
		if err != nil {
			return nil, err
		}
		times = times[:0]
		for _, t := range match.GetStartTime() {
			times = append(times, t.AsTime())
		}
		if len(times) >= nextTimes {
			return times[:nextTimes], nil
		}
	}
	return times, nil
}

func number(n int) *int64 {
	v := int64(n)
	return &v
}

// future drops times that have passed.
func (s *Schedules) future(times []time.Time) []time.Time {
	now := s.opt.Now()
	return slices.DeleteFunc(slices.Clone(times), func(t time.Time) bool { return !t.After(now) })
}

// List returns all schedules by name.
func (s *Schedules) List(ctx context.Context) ([]ScheduleInfo, error) {
	live, err := s.live(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.ledger.Schedules(ctx)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]liveSchedule, len(live))
	for _, e := range live {
		byID[e.id] = e
	}
	now := s.opt.Now()
	out := make([]ScheduleInfo, len(rows))
	for i, row := range rows {
		info := ScheduleInfo{ScheduleRow: row, Paused: row.PausedAt != nil}
		recent := now.Sub(row.ChangedAt) < fresh
		if e, ok := byID[row.ID.String()]; ok {
			info.Known, info.Note, info.Next = true, e.note, s.future(e.next)
			if !recent {
				info.Paused = e.paused
			}
		} else if recent && row.State == ledger.ScheduleReady {
			info.Known = true // the list comes a moment later
		}
		out[i] = info
	}
	return out, nil
}

// liveSchedule is what Temporal's list says of a schedule.
type liveSchedule struct {
	temporalID string
	id         string // in the ledger
	paused     bool
	note       string
	next       []time.Time
}

// live lists the installation's schedules that Temporal knows.
func (s *Schedules) live(ctx context.Context) ([]liveSchedule, error) {
	query := fmt.Sprintf("%s = '%s'", workflows.AttrInstallation.GetName(), workflows.Keyword(jobmanager.EscapeName(s.opt.Installation)))
	var out []liveSchedule
	var token []byte
	for {
		page, err := s.client.WorkflowService().ListSchedules(ctx, &workflowservice.ListSchedulesRequest{
			Namespace: s.opt.Namespace, MaximumPageSize: pageSize, NextPageToken: token, Query: query,
		})
		if err != nil {
			return nil, failed(ctx, "list schedules", err)
		}
		for _, e := range page.GetSchedules() {
			l := liveSchedule{
				temporalID: e.GetScheduleId(), id: memoID(e.GetMemo().GetFields()[workflows.MemoSchedule]),
				paused: e.GetInfo().GetPaused(), note: e.GetInfo().GetNotes(),
			}
			for _, t := range e.GetInfo().GetFutureActionTimes() {
				l.next = append(l.next, t.AsTime())
			}
			out = append(out, l)
		}
		if token = page.GetNextPageToken(); len(token) == 0 {
			return out, nil
		}
	}
}

// memoID reads the id that a schedule has in the ledger, or "".
func memoID(p *payload) string {
	var id string
	if p == nil || converter.GetDefaultDataConverter().FromPayload(p, &id) != nil {
		return ""
	}
	return id
}

// SetPaused pauses a schedule or lets it go on; by is who asks. Repeating it is harmless.
func (s *Schedules) SetPaused(ctx context.Context, row ledger.ScheduleRow, paused bool, by string) error {
	handle := s.client.ScheduleClient().GetHandle(ctx, row.TemporalID)
	var err error
	var whom *string
	if paused {
		whom = &by
		err = handle.Pause(ctx, client.SchedulePauseOptions{Note: pausedNote(by)})
	} else {
		err = handle.Unpause(ctx, client.ScheduleUnpauseOptions{Note: "resumed by " + by})
	}
	if notFound(err) { // it was lost, and comes back as the ledger says
		err = nil
	}
	if err != nil {
		return failed(ctx, "pause or resume schedule", err)
	}
	return s.ledger.SetSchedulePaused(ctx, row.ID, whom)
}

// Trigger runs a schedule now, whatever its timing. Where a run has not ended, the overlap policy counts.
func (s *Schedules) Trigger(ctx context.Context, row ledger.ScheduleRow) error {
	err := s.whole(ctx, row, func(h client.ScheduleHandle) error { return h.Trigger(ctx, client.ScheduleTriggerOptions{}) })
	return failedIf(ctx, "trigger schedule", err)
}

// whole does something with a schedule that Temporal may have lost.
func (s *Schedules) whole(ctx context.Context, row ledger.ScheduleRow, do func(client.ScheduleHandle) error) error {
	handle := s.client.ScheduleClient().GetHandle(ctx, row.TemporalID)
	err := do(handle)
	if !notFound(err) {
		return err
	}
	if err := s.put(ctx, row); err != nil {
		return err
	}
	return do(handle)
}

func failedIf(ctx context.Context, step string, err error) error {
	var span *BackfillError
	if err == nil || errors.As(err, &span) {
		return err
	}
	return failed(ctx, step, err)
}

// Backfill runs a schedule once for each of its times in a span, and returns how many these are. They run one after the other, or
// all at once if the schedule allows that. Error: *BackfillError.
func (s *Schedules) Backfill(ctx context.Context, row ledger.ScheduleRow, from, to time.Time) (int, error) {
	overlap := enumspb.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL // skip would leave out all but the first
	if row.Overlap == "allow" {
		overlap = enumspb.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL
	}
	times := 0
	err := s.whole(ctx, row, func(h client.ScheduleHandle) error {
		// Both ends belong to the span: the server's does not hold its beginning.
		from := from.Add(-time.Millisecond)
		match, err := s.client.WorkflowService().ListScheduleMatchingTimes(ctx, &workflowservice.ListScheduleMatchingTimesRequest{
			Namespace: s.opt.Namespace, ScheduleId: row.TemporalID, StartTime: timestamppb.New(from), EndTime: timestamppb.New(to),
		})
		if err != nil {
			return err
		}
		if times = len(match.GetStartTime()); times == 0 || times > MaxBackfill {
			return &BackfillError{None: times == 0}
		}
		return h.Backfill(ctx, client.ScheduleBackfillOptions{Backfill: []client.ScheduleBackfill{{Start: from, End: to, Overlap: overlap}}})
	})
	return times, failedIf(ctx, "backfill schedule", err)
}

// Drop forgets a schedule. Jobs that it started go on.
func (s *Schedules) Drop(ctx context.Context, row ledger.ScheduleRow) error {
	return failedIf(ctx, "drop schedule", s.drop(ctx, row))
}

func (s *Schedules) drop(ctx context.Context, row ledger.ScheduleRow) error {
	if err := s.ledger.SetScheduleState(ctx, row.ID, ledger.ScheduleDropping); err != nil {
		return err
	}
	if err := s.client.ScheduleClient().GetHandle(ctx, row.TemporalID).Delete(ctx); err != nil && !notFound(err) {
		return err
	}
	return s.ledger.DeleteSchedule(ctx, row.ID)
}
