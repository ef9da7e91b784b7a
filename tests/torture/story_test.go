package torture

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	enumspb "go.temporal.io/api/enums/v1"
	sdk "go.temporal.io/sdk/client"
	"google.golang.org/protobuf/encoding/protojson"
)

const eventsOfStory = 60

// story logs what is known of a job that should not have ended as it did: what the ledger says of its failures, and the end of its
// last run's history.
func (g *rig) story(conn *pgx.Conn, jobID string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	rows, err := conn.Query(ctx, `SELECT to_jsonb(f)::text FROM spillway.failures f WHERE job_id = $1 UNION ALL
		SELECT to_jsonb(h)::text FROM spillway.job_history h WHERE job_id = $1`, jobID)
	must(g.t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(g.t, err)
	var workflowID, runID string
	must(g.t, conn.QueryRow(ctx, "SELECT workflow_id, run_id FROM spillway.job_history WHERE job_id = $1", jobID).Scan(&workflowID, &runID))
	c, err := sdk.DialContext(ctx, sdk.Options{HostPort: g.rpc.Address()})
	must(g.t, err)
	defer c.Close()
	var events []string
	for it := c.GetWorkflowHistory(ctx, workflowID, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		must(g.t, err)
		text, err := protojson.Marshal(e)
		must(g.t, err)
		events = append(events, string(text))
	}
	lines = append(lines, events[max(0, len(events)-eventsOfStory):]...)
	g.t.Logf("the story of %s:\n%s", jobID, strings.Join(lines, "\n"))
}
