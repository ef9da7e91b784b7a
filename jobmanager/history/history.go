package history

import (
	"context"
	"iter"
	"slices"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
)

// Lister is the part of *ledger.Ledger that lists ended jobs.
type Lister interface {
	ListHistory(ctx context.Context, f ledger.HistoryFilter) ([]ledger.HistoryRow, error)
}

// Info describes a job that has ended.
func Info(h ledger.HistoryRow) (jobmanager.JobInfo, error) {
	id, err := jobmanager.ParseJobID(h.JobID)
	if err != nil {
		return jobmanager.JobInfo{}, err
	}
	finished := h.FinishedAt
	return jobmanager.JobInfo{
		ID:           id,
		Status:       jobmanager.Status(h.Status),
		RowsTotal:    h.RowsTotal,
		RowsFlushed:  h.RowsFlushed,
		BytesWritten: h.BytesWritten,
		Segments:     h.Segments,
		ChunksDone:   h.ChunksDone,
		ChunksTotal:  h.ChunksTotal,
		RowsLeft:     h.RowsLeft,
		RowsSkipped:  h.RowsSkipped,
		Attempt:      h.Attempt,
		Error:        text(h.Error),
		ErrorClass:   text(h.ErrorClass),
		Location:     text(h.Location),
		RequestedBy:  h.RequestedBy,
		Trigger:      jobmanager.Trigger(h.Trigger),
		Schedule:     h.Schedule,
		Statement:    h.Statement,
		CreatedAt:    h.CreatedAt,
		StartedAt:    h.StartedAt,
		FinishedAt:   &finished,
		CancelledAt:  h.CancelledAt,
		WorkflowID:   h.WorkflowID,
		RunID:        h.RunID,
	}, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Merge yields the jobs that f selects among live ones and the ended ones of the ledger: newest first, each once, at most as
// many as f allows. live must be sorted by jobmanager.Newer and were all asked for before; a job that has ended since
// is yielded as it was then. It ends when yield returns false or an error was yielded.
func Merge(ctx context.Context, l Lister, f jobmanager.JobFilter, live []jobmanager.JobInfo, yield func(jobmanager.JobInfo, error) bool) {
	seen := make(map[jobmanager.JobID]bool, len(live))
	for _, info := range live {
		seen[info.ID] = true
	}
	left := f.Limit
	give := func(info jobmanager.JobInfo) bool {
		left--
		return yield(info, nil) && left != 0 // never, if there is no limit
	}
	live = slices.DeleteFunc(slices.Clone(live), func(i jobmanager.JobInfo) bool { return !f.Match(i) })
	for info, err := range ended(ctx, l, f, len(seen)) {
		if err != nil {
			yield(jobmanager.JobInfo{}, err)
			return
		}
		if seen[info.ID] {
			continue
		}
		for len(live) > 0 && jobmanager.Newer(live[0], info) <= 0 {
			if !give(live[0]) {
				return
			}
			live = live[1:]
		}
		if !give(info) {
			return
		}
	}
	for _, info := range live {
		if !give(info) {
			return
		}
	}
}

// pageSize is how many rows the ledger is asked for at first.
const pageSize = 1000

// ended yields the ended jobs of the ledger that f selects, newest first. spare is how many of them the caller may leave
// out.
func ended(ctx context.Context, l Lister, f jobmanager.JobFilter, spare int) iter.Seq2[jobmanager.JobInfo, error] {
	return func(yield func(jobmanager.JobInfo, error) bool) {
		if !f.Ended() {
			return
		}
		size := pageSize
		if f.Limit > 0 {
			size = f.Limit + spare
		}
		// Each page begins at the top: jobs that end meanwhile shift the rest, and nothing may fall between two pages.
		// Pages grow, so this costs a third more than one long list.
		done := make(map[string]bool)
		for ; ; size *= 4 {
			rows, err := l.ListHistory(ctx, ledger.HistoryFilter{
				Statuses: terminal(f.Statuses),
				JobType:  string(f.Type),
				Schema:   f.Table.Namespace,
				Table:    f.Table.Name,
				Limit:    size,
			})
			if err != nil {
				yield(jobmanager.JobInfo{}, err)
				return
			}
			for _, row := range rows {
				if done[row.JobID] {
					continue
				}
				done[row.JobID] = true
				info, err := Info(row)
				if err == nil && !f.MatchID(info.ID) {
					continue
				}
				if !yield(info, err) || err != nil {
					return
				}
			}
			if len(rows) < size {
				return
			}
		}
	}
}

// terminal returns those of the statuses that the ledger has rows of; none of an empty list, which means all.
func terminal(statuses []jobmanager.Status) (out []string) {
	for _, s := range statuses {
		if s.Terminal() {
			out = append(out, string(s))
		}
	}
	return out
}
