package sqlfront

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// The views that are filled for each statement.
const (
	viewJobs      = "jobs"
	viewWorkers   = "workers"
	viewSchedules = "schedules"
)

// filled lists them, with what fills them.
var filled = []struct {
	view string
	live func(*Front, context.Context, *parse.Narrowing) (string, error)
}{
	{viewJobs, (*Front).liveJobs},
	{viewWorkers, (*Front).liveWorkers},
	{viewSchedules, (*Front).liveSchedules},
}

// Mentions implements pgwire.Session: does a text name a view that is filled? It may find the words in a constant or a
// comment, which costs a question and harms nothing.
func (s *session) Mentions(text string) bool {
	found := false
	for i := 0; i < len(text); i++ {
		if c := text[i] | 0x20; c != 'j' && c != 'w' && c != 's' {
			continue
		}
		for n, f := range filled {
			if len(text)-i >= len(f.view) && strings.EqualFold(text[i:i+len(f.view)], f.view) && qualifiedBy(text[:i], s.front.opt.SystemSchema) {
				s.reads[n], found = true, true
			}
		}
	}
	return found
}

// qualifiedBy reports whether a text ends in schema., quotes and spaces allowed.
func qualifiedBy(before, schema string) bool {
	const blank = " \t\r\n\f\v"
	before = strings.TrimRight(strings.TrimSuffix(before, `"`), blank)
	if !strings.HasSuffix(before, ".") {
		return false
	}
	before = strings.TrimSuffix(strings.TrimRight(before[:len(before)-1], blank), `"`)
	quoted := strings.ReplaceAll(schema, `"`, `""`)
	return len(before) >= len(quoted) && strings.EqualFold(before[len(before)-len(quoted):], quoted)
}

// Fill implements pgwire.Session: it hands over what the views show to the statement that follows. Which ones that
// statement reads is not known any more, a prepared one may be old: it gets all that this session has ever named. So where
// several are filled, the error of one is left to the view, which is read or not.
//
// Of a statement that is known and simple enough, only the jobs that it can see are asked for; see narrow.go.
func (s *session) Fill(ctx context.Context, up pgwire.Upstream, text string) error {
	f := s.front
	if want := f.opt.Database; want != "" && want != s.info.Database {
		return nil
	}
	several := s.reads[0] && s.reads[1] || s.reads[2] && (s.reads[0] || s.reads[1])
	for n, v := range filled {
		if !s.reads[n] {
			continue
		}
		var cut *narrowed
		if v.view == viewJobs && text != "" {
			cut = narrowFor(text, parse.Narrow(text, f.opt.SystemSchema))
		}
		err := f.fillView(ctx, up, v.view, cut, v.live)
		var failed *liveError
		if errors.As(err, &failed) && several && ctx.Err() == nil {
			err = f.leaveError(ctx, up, v.view, failed)
		}
		if err != nil {
			return sqlError(err, 0)
		}
	}
	return nil
}

// liveError is what kept a view from being filled.
type liveError struct{ error }

func (e *liveError) Unwrap() error { return e.error }

// leaveError lets a view tell its error to whoever reads it.
func (f *Front) leaveError(ctx context.Context, up pgwire.Upstream, view string, failed *liveError) error {
	e := sqlError(failed, 0)
	f.opt.Logger.Warn("view not filled", "view", view, "error", failed.error)
	_, err := up.Query(ctx, `SELECT pg_catalog.set_config(pg_catalog.concat('spillway.', $1, '_error'), $2, true)`, view, fmt.Sprintf("%s (%s)", e.Message, e.Code))
	return err
}

// fillView fills one view. Who may not read it gets nothing, and PostgreSQL's own error. cut is nil for the whole list.
func (f *Front) fillView(ctx context.Context, up pgwire.Upstream, view string, cut *narrowed, live func(*Front, context.Context, *parse.Narrowing) (string, error)) error {
	// The client's search_path is in force: every operator and type is named in full, or it could be the client's own.
	rows, err := up.Query(ctx, `
		SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
		FROM pg_catalog.pg_namespace AS n, pg_catalog.pg_class AS c
		WHERE n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.name AND c.relnamespace OPERATOR(pg_catalog.=) n.oid
		  AND c.relname OPERATOR(pg_catalog.=) $2::pg_catalog.name`, f.opt.SystemSchema, view)
	if err != nil {
		return err
	}
	if len(rows) != 1 || str(rows[0][0]) != "t" {
		return nil
	}
	if cut, err = cut.trusted(ctx, up); err != nil {
		return err
	}
	list, err := live(f, ctx, cut.narrowing())
	if err != nil {
		return &liveError{err}
	}
	whole, part, reader := list, "", ""
	if cut != nil {
		whole, part, reader = "", list, cut.text
	}
	_, err = up.Query(ctx, `SELECT pg_catalog.set_config(pg_catalog.concat('spillway.', $2), $1, true),
		pg_catalog.set_config(pg_catalog.concat('spillway.', $2, '_narrowed'), $4, true),
		pg_catalog.set_config(pg_catalog.concat('spillway.', $2, '_for'), $5, true),
		pg_catalog.set_config(pg_catalog.concat('spillway.', $2, '_at'), extract(epoch FROM pg_catalog.statement_timestamp())::pg_catalog.text, true),
		pg_catalog.set_config(pg_catalog.concat('spillway.', $2, '_error'), '', true), pg_catalog.set_config('spillway.ui_prefix', $3, true)`,
		whole, view, f.opt.UIPrefix, part, reader)
	return err
}

// liveJobs renders the live jobs as a JSON array.
func (f *Front) liveJobs(ctx context.Context, only *parse.Narrowing) (string, error) {
	text, _, err := f.renderJobs(ctx, only)
	return text, err
}

// renderJobs returns the live jobs as a JSON array, and as they are; the ones that only names at most.
func (f *Front) renderJobs(ctx context.Context, only *parse.Narrowing) (string, map[string]jobmanager.JobInfo, error) {
	filter, some := jobsOf(only)
	jobs := map[string]jobmanager.JobInfo{}
	if !some {
		return "[]", jobs, nil
	}
	var b strings.Builder
	b.WriteByte('[')
	for info, err := range f.jobs.ListJobs(ctx, filter) {
		if err != nil {
			return "", nil, err
		}
		object, err := json.Marshal(jobObject(info))
		if err != nil {
			return "", nil, fmt.Errorf("render job: %w", err)
		}
		if len(jobs) > 0 {
			b.WriteByte(',')
		}
		jobs[info.ID.String()] = info
		b.Write(object)
		if b.Len() > f.opt.LiveLimit {
			return "", nil, &pgwire.Error{Code: codeTooLarge, Message: fmt.Sprintf("more than %d live jobs do not fit into %s.jobs", len(jobs)-1, f.opt.SystemSchema),
				Hint: fmt.Sprintf("SHOW JOBS lists them all; ended jobs are in %s.job_history", f.opt.LedgerSchema)}
		}
	}
	b.WriteByte(']')
	return b.String(), jobs, nil
}
