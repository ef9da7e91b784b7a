package temporaljobs

import (
	"context"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/workflows"
)

// LiveCount is how many live jobs there are of a type and a status.
type LiveCount struct {
	Type   jobmanager.JobType
	Status jobmanager.Status
	Jobs   int
}

// CountLive counts live jobs by what visibility says of them, which may be a moment old, and a request that no worker has seen
// yet is not in it: it is for graphs. It looks at no more than most jobs; others is how many there are besides.
func (m *Manager) CountLive(ctx context.Context, most int) (counts []LiveCount, others int, err error) {
	query := m.ours() + " AND ExecutionStatus = 'Running'"
	by := make(map[LiveCount]int)
	seen := 0
	for info, err := range m.visible(ctx, query) {
		if err != nil {
			return nil, 0, err
		}
		fields := info.GetSearchAttributes().GetIndexedFields()
		typ := text(fields[workflows.AttrJobType.GetName()])
		if typ == "" {
			continue // a workflow of ours that is no job
		}
		if seen == most {
			others, err = m.countOthers(ctx, query, most)
			return list(by), others, err
		}
		seen++
		by[LiveCount{Type: jobmanager.JobType(typ), Status: jobmanager.Status(text(fields[workflows.AttrStatus.GetName()]))}]++
	}
	return list(by), 0, nil
}

// countOthers asks how many there are in all.
func (m *Manager) countOthers(ctx context.Context, query string, seen int) (int, error) {
	res, err := m.client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
		Namespace: m.opt.Namespace, Query: fmt.Sprintf("%s AND %s IS NOT NULL", query, workflows.AttrJobType.GetName()),
	})
	if err != nil {
		return 0, failed(ctx, "count jobs", err)
	}
	return max(0, int(res.GetCount())-seen), nil
}

func list(by map[LiveCount]int) []LiveCount {
	out := make([]LiveCount, 0, len(by))
	for c, n := range by {
		c.Jobs = n
		out = append(out, c)
	}
	return out
}

// text reads a keyword, "" if there is none.
func text(p *commonpb.Payload) (s string) {
	if p == nil || converter.GetDefaultDataConverter().FromPayload(p, &s) != nil {
		return ""
	}
	return s
}
