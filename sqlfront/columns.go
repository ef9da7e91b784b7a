package sqlfront

import (
	"strings"
	"time"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

func text(name string) pgwire.Column  { return pgwire.Column{Name: name, Type: pgwire.Text} }
func count(name string) pgwire.Column { return pgwire.Column{Name: name, Type: pgwire.Int8} }
func moment(name string) pgwire.Column {
	return pgwire.Column{Name: name, Type: pgwire.Timestamptz}
}

// The columns of our answers are a promise: scripts read them by name. New ones go to the end.
var (
	// of statements that start jobs: one row per job, or per table that could not start one
	startColumns = []pgwire.Column{text("job_id"), text("status"), {Name: "existing", Type: pgwire.Bool}, text("target"), text("error")}

	// of statements that change a job
	changeColumns = []pgwire.Column{text("job_id"), text("status")}

	// of KILL JOBS: one row per job that matched
	killColumns = []pgwire.Column{text("job_id"), text("status"), text("error")}

	// of EXPLAIN KILL JOBS: error says why that job would stay
	explainKillColumns = []pgwire.Column{text("job_id"), text("status"), text("error"), text("target"), text("requested_by"), moment("created_at"), count("rows_flushed")}

	// of SHOW JOBS and SHOW JOB: those of system.jobs
	jobColumns = []pgwire.Column{
		text("job_id"), text("job_type"), text("target"), text("status"), text("phase"), {Name: "progress", Type: pgwire.Float8},
		count("rows_total"), count("rows_flushed"), count("bytes_written"), count("segments"), count("chunks_done"), count("chunks_total"),
		count("attempt"), text("error"), text("error_class"), text("location"), text("requested_by"), text("trigger"), text("schedule"),
		text("statement"), moment("created_at"), moment("started_at"), moment("finished_at"), moment("cancelled_at"),
		text("workflow_id"), text("run_id"), text("ui_url"), count("rows_left"), count("rows_skipped_locked"),
	}

	// of EXPLAIN FLUSH TABLE: one row per fact; subject is the table or one of its partitions
	explainColumns = []pgwire.Column{text("subject"), text("property"), text("value"), text("detail")}

	// of SHOW COLD TABLE: one row per segment; read_parquet, which covers them all, stands in the first
	segmentColumns = []pgwire.Column{
		text("segment_id"), text("location"), count("row_count"), count("bytes"), moment("created_at"), text("job_id"), text("leaf"),
		count("schema_version"), text("read_parquet"), text("storage"),
	}
)

// jobRow returns the values of jobColumns.
func jobRow(j jobmanager.JobInfo) []any {
	return []any{
		j.ID.String(), string(j.ID.Type), known(j.ID.Table.String()), string(j.Status), known(j.Phase), j.Progress(),
		number(j.RowsTotal), j.RowsFlushed, j.BytesWritten, j.Segments, j.ChunksDone, number(j.ChunksTotal),
		int64(j.Attempt), known(j.Error), known(j.ErrorClass), known(j.Location), known(j.RequestedBy), known(string(j.Trigger)), known(j.Schedule),
		known(j.Statement), j.CreatedAt, instant(j.StartedAt), instant(j.FinishedAt), instant(j.CancelledAt),
		known(j.WorkflowID), known(j.RunID), known(j.UIURL), number(j.RowsLeft), j.RowsSkipped,
	}
}

// jobObject returns the same by name, for the view.
func jobObject(j jobmanager.JobInfo) map[string]any {
	object := make(map[string]any, len(jobColumns))
	for i, v := range jobRow(j) {
		if v == nil {
			continue
		}
		switch w := v.(type) {
		case time.Time:
			v = w.UTC().Format(time.RFC3339Nano)
		case string:
			v = strings.ReplaceAll(w, "\x00", "") // PostgreSQL's text has no place for it
		}
		object[jobColumns[i].Name] = v
	}
	return object
}

func known(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func number(n *int64) any {
	if n == nil {
		return nil
	}
	return *n
}

func instant(t *time.Time) any {
	if t == nil {
		return nil
	}
	return *t
}

// trim drops the white space and semicolons around a statement.
func trim(text string) string { return strings.Trim(text, " \t\r\n;") }
