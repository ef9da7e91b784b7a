package sqlfront

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// waitFor waits until all jobs have ended, and tells of their progress. The job of a lone statement that does not
// complete is an error; among several, it is told in its row. A cancelled wait leaves the jobs alone.
func (r *request) waitFor(ctx context.Context, list []launch) ([][]any, error) {
	if err := r.up.Release(); err != nil {
		return nil, err
	}
	rows := make([][]any, len(list))
	for i := range list {
		if list[i].ID.IsZero() {
			rows[i] = list[i].row()
			continue
		}
		info, err := r.waitOne(ctx, list[i].ID)
		if err != nil {
			return nil, err
		}
		list[i].status, list[i].err = info.Status, info.Error
		r.tellFindings(ctx, info)
		if info.Status != jobmanager.Completed && len(list) == 1 {
			return nil, r.unhappy(info)
		}
		if keeps(info.ID.Type) {
			rows[i] = list[i].row()
			continue
		}
		r.notice(pgwire.Notice{Message: fmt.Sprintf("job %s: %s, %d rows, %d bytes, %d segments",
			info.ID, info.Status, info.RowsFlushed, info.BytesWritten, info.Segments)})
		rows[i] = list[i].row()
	}
	return rows, nil
}

// unhappy is the error for a job that ended, but did not complete.
func (r *request) unhappy(info jobmanager.JobInfo) error {
	e := &pgwire.Error{Code: classCode(info.ErrorClass), Message: fmt.Sprintf("job %q %s", info.ID, info.Status),
		Hint: fmt.Sprintf("SHOW JOB '%s' tells more; rows that were not moved are still %s", info.ID, whereLeft(info.ID.Type))}
	if keeps(info.ID.Type) {
		e.Hint = fmt.Sprintf("SHOW JOB '%s' tells more; SELECT * FROM %s.findings WHERE job_id = '%[1]s' lists what it found", info.ID,
			parse.QuoteName(r.opt.SystemSchema))
	}
	if info.Error != "" {
		e.Message += ": " + info.Error
	}
	if info.Status == jobmanager.Cancelled {
		e.Code = codeCancelled
	}
	return e
}

// whereLeft says where rows are that a job was to move and has not.
func whereLeft(typ jobmanager.JobType) string {
	if typ == jobRestore {
		return "cold"
	}
	return "in the table"
}

// noticeEvery is how often a waiting statement looks at its job's progress.
const noticeEvery = time.Second

// waitOne waits for the end of one job, and tells of its progress meanwhile.
func (r *request) waitOne(ctx context.Context, id jobmanager.JobID) (jobmanager.JobInfo, error) {
	type outcome struct {
		info jobmanager.JobInfo
		err  error
	}
	ended := make(chan outcome, 1)
	go func() {
		info, err := r.awaitEnd(ctx, id)
		ended <- outcome{info, err}
	}()
	tick := time.NewTicker(noticeEvery)
	defer tick.Stop()
	told := ""
	for {
		select {
		case o := <-ended:
			return o.info, o.err
		case <-ctx.Done():
			<-ended // nothing of this statement goes on after its answer
			return jobmanager.JobInfo{}, context.Cause(ctx)
		case <-tick.C:
		}
		if info, err := r.jobs.JobStatus(ctx, id); err == nil && !info.Status.Terminal() {
			if text := progress(info); text != told {
				r.notice(pgwire.Notice{Message: text})
				told = text
			}
		}
	}
}

// awaitEnd returns when a job has ended, by polling if the manager has no better way. A back end that cannot be reached for a
// while does not end the wait.
func (r *request) awaitEnd(ctx context.Context, id jobmanager.JobID) (jobmanager.JobInfo, error) {
	const patience = 2 * time.Minute
	look := r.jobs.JobStatus
	if w, ok := r.jobs.(jobmanager.Waiter); ok {
		look = w.WaitJob
	}
	for lastHit := time.Now(); ; {
		info, err := look(ctx, id)
		switch {
		case err == nil && info.Status.Terminal():
			return info, nil
		case err == nil:
			lastHit = time.Now()
		case ctx.Err() != nil:
			return info, context.Cause(ctx)
		case !errors.Is(err, jobmanager.ErrUnavailable), time.Since(lastHit) > patience:
			return info, err
		}
		select {
		case <-ctx.Done():
			return info, context.Cause(ctx)
		case <-time.After(r.opt.PollEvery):
		}
	}
}

func progress(info jobmanager.JobInfo) string {
	text := fmt.Sprintf("job %s: %s", info.ID, info.Status)
	if info.Phase != "" {
		text += ", " + info.Phase
	}
	if info.ChunksTotal != nil {
		text += fmt.Sprintf(", %d of %d chunks", info.ChunksDone, *info.ChunksTotal)
	}
	if keeps(info.ID.Type) {
		return text
	}
	return text + fmt.Sprintf(", %d rows", info.RowsFlushed)
}
