package progress

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/jobmanager"
)

// PollEvery is how often a waiting command looks at its job. A look costs the server about a millisecond.
const PollEvery = 200 * time.Millisecond

// Follow looks at a job until it has ended, showing its progress on the way, and returns its last row.
func Follow(ctx context.Context, c *sqlclient.Client, id string, p *Meter) (sqlclient.Row, error) {
	segments := ""
	if JobType(sqlclient.Row{"job_id": id}) == "verify" {
		segments = segmentsOf(ctx, c, id)
	}
	tick := time.NewTicker(PollEvery)
	defer tick.Stop()
	defer p.Done()
	for {
		rows, err := c.Rows(ctx, "SHOW JOB "+sqlclient.Literal(id))
		if err != nil {
			return nil, fail.Hint(err, "the job goes on by itself; look at it with `spillway jobs show '%s'`", id)
		}
		if len(rows) != 1 {
			return nil, fmt.Errorf("job %q: %d rows in the answer to SHOW JOB", id, len(rows))
		}
		CountSegments(rows[0], segments)
		p.Show(rows[0])
		if jobmanager.Status(rows[0]["status"]).Terminal() {
			return rows[0], nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fail.Hint(context.Cause(ctx), "the job goes on by itself; stop it with `spillway jobs kill '%s'`", id)
		}
	}
}

// Waiter waits for the end of a job, shows its progress, and returns its last row.
type Waiter func(ctx context.Context, c *sqlclient.Client, id string, p *Meter) (sqlclient.Row, error)

// WhenComplete lets the front-end wait, and shows what it tells meanwhile.
func WhenComplete(ctx context.Context, c *sqlclient.Client, id string, p *Meter) (sqlclient.Row, error) {
	before := c.OnNotice
	c.OnNotice = func(n *pgconn.Notice) { p.tell(n.Message) }
	defer func() { c.OnNotice = before }()
	defer p.Done()
	rows, err := c.Rows(ctx, "SHOW JOB "+sqlclient.Literal(id)+" WHEN COMPLETE")
	var refused *sqlclient.StatementError
	switch {
	case ctx.Err() != nil:
		return nil, fail.Hint(context.Cause(ctx), "the job goes on by itself; stop it with `spillway jobs kill '%s'`", id)
	case errors.As(err, &refused):
		return nil, err
	case err != nil:
		return nil, fail.Hint(err, "the job goes on by itself; look at it with `spillway jobs show '%s'`", id)
	case len(rows) != 1:
		return nil, fmt.Errorf("job %q: %d rows in the answer to SHOW JOB", id, len(rows))
	}
	return rows[0], nil
}

// segmentsOf asks how many segments the table of a job has; "": not known. It is for people to look at, and no error.
func segmentsOf(ctx context.Context, c *sqlclient.Client, id string) string {
	jobs, err := c.View(ctx, "jobs")
	if err != nil {
		return ""
	}
	tables, err := c.View(ctx, "tables")
	if err != nil {
		return ""
	}
	rows, err := c.Rows(ctx, "SELECT t.segments FROM "+jobs+" AS j JOIN "+tables+" AS t ON t.table_schema || '.' || t.table_name = j.target WHERE j.job_id = "+sqlclient.Literal(id))
	if err != nil || len(rows) != 1 {
		return ""
	}
	return rows[0]["segments"]
}
