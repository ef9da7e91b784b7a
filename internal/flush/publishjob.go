package flush

import "context"

// Publish rewrites the manifest of a job's table from the ledger.
func (f *Flusher) Publish(ctx context.Context, jobID string) error {
	err := f.publishJob(ctx, jobID)
	if err != nil {
		f.recordFailure(ctx, jobID, nil, 1, err)
	}
	return err
}

func (f *Flusher) publishJob(ctx context.Context, jobID string) error {
	last, err := f.ledger.LastPlan(ctx, jobID)
	if err != nil {
		return err
	}
	doc, err := readPlan(last)
	if err != nil {
		return err
	}
	if doc.Restore != nil {
		return f.PublishTable(ctx, doc.Schema, doc.Name, doc.Restore.Storages...)
	}
	return f.PublishTable(ctx, doc.Schema, doc.Name)
}

// PublishTable rewrites the manifests of a table from the ledger, one in each storage that holds segments of it, and in those
// named, which may hold none any more.
func (f *Flusher) PublishTable(ctx context.Context, schema, table string, storages ...string) error {
	return f.manifests.Publish(ctx, schema, table, storages...)
}
