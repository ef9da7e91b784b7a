package backing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/sqlfront"
)

// Schedules lets the front-end change schedules.
type Schedules struct {
	Ledger *ledger.Ledger
	All    *temporaljobs.Schedules
}

var _ sqlfront.Schedules = (*Schedules)(nil)

// Create implements sqlfront.Schedules.
func (s *Schedules) Create(ctx context.Context, spec sqlfront.ScheduleSpec) error {
	row := ledger.ScheduleRow{
		Name: spec.Name, Statement: spec.Statement, JobStatement: spec.JobStatement, JobType: string(spec.JobType), Scope: ledger.ScopeTable,
		Schema: spec.Table.Namespace, Table: spec.Table.Name, Params: spec.Params, Every: spec.Every, EverySeconds: spec.EverySeconds, Cron: spec.Cron, Zone: spec.Zone,
		JitterSeconds: spec.JitterSeconds, CatchupSeconds: spec.CatchupSeconds, Overlap: spec.Overlap, PauseOnFailure: spec.PauseOnFailure,
		CreatedBy: spec.User, RunAs: spec.Role,
	}
	if spec.Table.IsZero() {
		row.Scope, row.Schema = ledger.ScopeAll, spec.Namespace
		if spec.Namespace != "" {
			row.Scope = ledger.ScopeNamespace
		}
	}
	if spec.Paused {
		row.PausedBy = &spec.User
	}
	err := s.All.Create(ctx, row)
	var bad *temporaljobs.ScheduleError
	switch {
	case errors.Is(err, ledger.ErrScheduleExists):
		return &sqlfront.ScheduleError{Code: "42710", Msg: fmt.Sprintf("schedule \"%s\" already exists", spec.Name), Hint: "choose another name, or DROP SCHEDULE first"}
	case errors.As(err, &bad):
		return &sqlfront.ScheduleError{Code: "22023", Timing: true, Msg: "Temporal does not take these times: " + bad.Msg}
	}
	return err
}

// row reads a schedule of the ledger.
func (s *Schedules) row(ctx context.Context, name string) (ledger.ScheduleRow, error) {
	row, err := s.Ledger.Schedule(ctx, name)
	if err == nil && row.State == ledger.ScheduleDropping {
		err = ledger.ErrNotFound
	}
	return row, noSchedule(err, name)
}

func noSchedule(err error, name string) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return &sqlfront.ScheduleError{Code: "42704", Msg: fmt.Sprintf("schedule \"%s\" does not exist", name), Hint: "SHOW SCHEDULES lists them"}
	}
	return err
}

// Role implements sqlfront.Schedules. A schedule that is half dropped can be dropped again.
func (s *Schedules) Role(ctx context.Context, name string) (string, error) {
	row, err := s.Ledger.Schedule(ctx, name)
	return row.RunAs, noSchedule(err, name)
}

// SetPaused implements sqlfront.Schedules.
func (s *Schedules) SetPaused(ctx context.Context, name string, paused bool, by string) error {
	row, err := s.row(ctx, name)
	if err != nil {
		return err
	}
	return s.All.SetPaused(ctx, row, paused, by)
}

// Trigger implements sqlfront.Schedules.
func (s *Schedules) Trigger(ctx context.Context, name string) error {
	row, err := s.row(ctx, name)
	if err != nil {
		return err
	}
	return s.All.Trigger(ctx, row)
}

// Backfill implements sqlfront.Schedules.
func (s *Schedules) Backfill(ctx context.Context, name string, from, to time.Time) error {
	row, err := s.row(ctx, name)
	if err != nil {
		return err
	}
	_, err = s.All.Backfill(ctx, row, from, to)
	var span *temporaljobs.BackfillError
	if errors.As(err, &span) {
		e := &sqlfront.ScheduleError{Code: "22023", Msg: span.Error(), Hint: fmt.Sprintf("backfill at most %d at once", temporaljobs.MaxBackfill)}
		if span.None {
			e.Hint = "EXPLAIN SCHEDULE shows what its times look like"
		}
		return e
	}
	return err
}

// Drop implements sqlfront.Schedules.
func (s *Schedules) Drop(ctx context.Context, name string) error {
	row, err := s.Ledger.Schedule(ctx, name)
	if err != nil {
		return noSchedule(err, name)
	}
	return s.All.Drop(ctx, row)
}

// Schedule implements sqlfront.Schedules.
func (s *Schedules) Schedule(ctx context.Context, name string) (sqlfront.Schedule, error) {
	info, err := s.All.Describe(ctx, name)
	if err != nil {
		return sqlfront.Schedule{}, noSchedule(err, name)
	}
	return scheduleOf(info), nil
}

// Schedules implements sqlfront.Schedules.
func (s *Schedules) Schedules(ctx context.Context) ([]sqlfront.Schedule, error) {
	list, err := s.All.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]sqlfront.Schedule, len(list))
	for i, info := range list {
		out[i] = scheduleOf(info)
	}
	return out, nil
}

// scheduleOf is a schedule as SHOW SCHEDULES has it. The view says the same.
func scheduleOf(i temporaljobs.ScheduleInfo) sqlfront.Schedule {
	out := sqlfront.Schedule{
		Name: i.Name, Statement: i.Statement, JobType: i.JobType, Every: i.Every, Cron: i.Cron, Jitter: clock(i.JitterSeconds), Overlap: i.Overlap, Catchup: clock(i.CatchupSeconds),
		PauseOnFailure: i.PauseOnFailure, Status: "active", Note: i.Note, Next: i.Next, LastRunAt: i.LastRunAt, LastEndedAt: i.LastEndedAt, LastStatus: deref(i.LastStatus),
		LastJobID: deref(i.LastJobID), LastError: deref(i.LastError), Runs: i.Runs, CreatedBy: i.CreatedBy, CreatedAt: i.CreatedAt, PausedAt: i.PausedAt, PausedBy: deref(i.PausedBy),
		TemporalID: i.TemporalID, Missed: i.Missed, Skipped: i.Skipped,
	}
	if i.Cron != "" {
		out.Zone = "UTC"
		if i.Zone != "" {
			out.Zone = i.Zone
		}
	}
	switch {
	case i.Scope == ledger.ScopeTable:
		out.Target = i.Schema + "." + i.Table
	case i.Scope == ledger.ScopeNamespace:
		out.Target = i.Schema + ".*"
	case i.JobType != "cleanup":
		out.Target = "*"
	}
	switch {
	case i.State != ledger.ScheduleReady:
		out.Status = i.State
	case !i.Known:
		out.Status = ledger.ScheduleCreating
	case i.Paused:
		out.Status = "paused"
	}
	return out
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// clock prints seconds as PostgreSQL prints an interval of them.
func clock(seconds int64) string {
	return fmt.Sprintf("%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
}
