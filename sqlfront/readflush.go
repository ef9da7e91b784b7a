package sqlfront

import (
	"context"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// ReadFlush reads FLUSH TABLE and returns the job that it asks for, for a process that runs the job itself, with the rights of
// the connection behind up. Table, options and predicate mean what they mean to a Front, and are refused where it refuses
// them; but there is no owner to ask for, for who asks is the one whose rights the job has. The connection must be idle,
// and is left so. Errors are *pgwire.Error where there is an SQLSTATE.
func ReadFlush(ctx context.Context, up pgwire.Upstream, text string, opt *Options) (jobmanager.JobSpec, error) {
	tree, err := parse.Parse(text, &parse.Options{BackslashQuotes: up.Setting("standard_conforming_strings") == "off"})
	if err != nil {
		return jobmanager.JobSpec{}, sqlError(err, 0)
	}
	s, ok := tree.(*parse.FlushTable)
	if !ok {
		return jobmanager.JobSpec{}, &pgwire.Error{Code: codeNotSupported, Message: tree.Tag() + " is not supported here", Hint: "expected FLUSH TABLE"}
	}
	params, err := readOptions(s.Options, "unregistered")
	if err != nil {
		return jobmanager.JobSpec{}, sqlError(err, 0)
	}
	delete(params, "wait") // it is for the caller to wait
	r := &request{Front: &Front{opt: opt.withDefaults()}, up: up, text: trim(text), deed: deedOf(s)}
	spec := jobmanager.JobSpec{Type: jobFlush, Params: params, Statement: r.text, Trigger: jobmanager.TriggerCommand}
	if _, err := up.Query(ctx, "BEGIN"); err != nil {
		return jobmanager.JobSpec{}, sqlError(err, 0)
	}
	err = r.readTarget(ctx, s, &spec)
	if _, endErr := up.Query(context.WithoutCancel(ctx), "ROLLBACK"); err == nil {
		err = endErr
	}
	if err != nil {
		return jobmanager.JobSpec{}, sqlError(err, 0)
	}
	return spec, nil
}

// readTarget fills in what only the database can say.
func (r *request) readTarget(ctx context.Context, s *parse.FlushTable, spec *jobmanager.JobSpec) error {
	t, err := r.look(ctx, jobmanager.Table{Namespace: s.Table.Schema, Name: s.Table.Table})
	if err != nil {
		return err
	}
	t.owner = true
	if err := r.flushable(t, s.Table.Pos); err != nil {
		return err
	}
	spec.Table, spec.RequestedBy = t.table, t.user
	return r.readRows(ctx, t, s, spec.Params)
}
