package sqlfront

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// explain runs EXPLAIN FLUSH TABLE: all that FLUSH TABLE checks, and no job.
func (r *request) explain(ctx context.Context, s *parse.ExplainFlush) ([][]any, error) {
	if r.opt.Planner == nil {
		return nil, &pgwire.Error{Code: codeNotSupported, Message: "EXPLAIN FLUSH is not available on this front-end"}
	}
	t, params, err := r.readFlush(ctx, s.Flush)
	if err != nil {
		return nil, err
	}
	delete(params, "wait")
	if err := r.up.Release(); err != nil {
		return nil, err
	}
	taken, err := r.policyDefaults(ctx, t.table, s.Flush.Options, params)
	if err != nil {
		return nil, sqlError(err, s.Flush.Table.Pos)
	}
	o, err := r.opt.Planner.Outlook(ctx, t.table, params)
	if err != nil {
		err = ofPolicy(err, taken)
		return nil, sqlError(err, blame(err, s.Flush.Options, s.Flush.Table.Pos))
	}
	x := &explanation{table: t.table.String(), outlook: o}
	if err := x.outcome(ctx, r.jobs, t.table); err != nil {
		return nil, err
	}
	x.whole(params)
	for _, name := range taken {
		x.add(x.table, "from_policy", name+" = "+params[name], "an option that the table's flush policy has and the statement does not name")
	}
	x.leaves()
	return x.rows, nil
}

// explanation gathers the rows of an answer. The names of properties are a promise, as columns are.
type explanation struct {
	table   string
	outlook *Outlook
	rows    [][]any
}

func (x *explanation) add(subject, property, value, detail string) {
	x.rows = append(x.rows, []any{subject, property, value, known(detail)})
}

func (x *explanation) number(subject, property string, n int64, detail string) {
	x.add(subject, property, strconv.FormatInt(n, 10), detail)
}

// outcome says whether FLUSH would start a job, and what stands in its way.
func (x *explanation) outcome(ctx context.Context, jobs jobmanager.JobManager, table jobmanager.Table) error {
	var busy jobmanager.JobID
	for info, err := range jobs.ListJobs(ctx, jobmanager.JobFilter{Table: table}) {
		if err != nil {
			return err
		}
		if info.ID.Table == table {
			busy = info.ID
		}
	}
	switch n := len(x.outlook.Refusals); {
	case n > 0:
		x.add(x.table, "outcome", "refused", "FLUSH is an error, for the first of these reasons")
	case !busy.IsZero():
		x.add(x.table, "outcome", "busy", "the same FLUSH returns the job that runs, another one is an error")
	default:
		x.add(x.table, "outcome", "ready", "FLUSH starts a job")
	}
	for _, no := range x.outlook.Refusals {
		x.add(no.Table, "refusal", no.Message+" ("+no.Code+")", no.Hint)
	}
	if !busy.IsZero() {
		x.add(x.table, "running_job", busy.String(), "SHOW JOB '…' shows it")
	}
	return nil
}

// whole describes the flush as one.
func (x *explanation) whole(params map[string]string) {
	o := x.outlook
	if where := params["where"]; where != "" {
		x.add(x.table, "predicate", unguarded(where), "as PostgreSQL understood it")
	}
	if o.Limit != "" {
		x.add(x.table, "older_than", o.Limit, "if the flush started now; then it stands still")
	}
	if o.Kept != "" {
		x.add(x.table, "keep_rows", params["keep_rows"], o.Kept)
	}
	var rows, all, bytes, chunks, files int64
	unknown := ""
	for _, l := range o.Leaves {
		all += l.AllRows
		bytes += l.Bytes
		chunks += int64(l.Chunks)
		files += l.Files
		if l.Rows == nil {
			unknown = "; not known for " + l.Name
			continue
		}
		rows += *l.Rows
	}
	x.number(x.table, "rows", rows, fmt.Sprintf("estimate by PostgreSQL's planner, of about %d in the table%s", all, unknown))
	x.number(x.table, "bytes", bytes, prettySize(bytes)+" in PostgreSQL now, with indexes and TOAST")
	x.number(x.table, "chunks", chunks, x.chunkDetail())
	x.number(x.table, "files", files, "at most: a chunk without a row writes none")
	for _, p := range o.Layout {
		x.add(x.table, p.Name, p.Value, p.Detail)
	}
	x.number(x.table, "parallelism", int64(o.Parallelism), "chunks at once, as far as workers have slots")
	if o.Storage != "" {
		x.add(x.table, "storage", o.Storage, localPath(o.Location))
	}
	x.add(x.table, "lock", "ROW EXCLUSIVE", "on a leaf, while a chunk of it moves: some seconds")
	x.add(x.table, "goes_on", "SELECT, INSERT, UPDATE, DELETE, VACUUM", "beside the chunk")
	x.add(x.table, "waits", "CREATE INDEX, ALTER TABLE, TRUNCATE, DROP TABLE, VACUUM FULL", "for the chunk, and the chunk for them")
	x.wholeConsequences()
	x.add(x.table, "row_lock", "FOR UPDATE", "on rows that move: who changes one waits for its chunk, then finds it gone")
}

func (x *explanation) each(subject, property string, values []string, detail string) {
	for _, v := range values {
		x.add(subject, property, v, detail)
	}
}
