package sqlfront

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// Mentions implements pgwire.Session: does a text name the view system.jobs? It may find the words in a constant or a
// comment, which costs a question and harms nothing.
func (s *session) Mentions(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i]|0x20 != 'j' || len(text)-i < len("jobs") {
			continue
		}
		if strings.EqualFold(text[i:i+len("jobs")], "jobs") && qualifiedBy(text[:i], s.front.opt.SystemSchema) {
			return true
		}
	}
	return false
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

// Fill implements pgwire.Session: it hands the live jobs to the statement that follows, which reads them through the view.
// Who may not read the view gets nothing, and PostgreSQL's own error.
func (s *session) Fill(ctx context.Context, up pgwire.Upstream) error {
	f := s.front
	if want := f.opt.Database; want != "" && want != s.info.Database {
		return nil
	}
	// The client's search_path is in force: every operator and type is named in full, or it could be the client's own.
	rows, err := up.Query(ctx, `
		SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
		FROM pg_catalog.pg_namespace AS n, pg_catalog.pg_class AS c
		WHERE n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.name AND c.relnamespace OPERATOR(pg_catalog.=) n.oid
		  AND c.relname OPERATOR(pg_catalog.=) 'jobs'::pg_catalog.name`, f.opt.SystemSchema)
	if err != nil {
		return err
	}
	if len(rows) != 1 || str(rows[0][0]) != "t" {
		return nil
	}
	live, err := f.liveJobs(ctx)
	if err != nil {
		return sqlError(err, 0)
	}
	_, err = up.Query(ctx, `SELECT pg_catalog.set_config('spillway.jobs', $1, true),
		pg_catalog.set_config('spillway.jobs_at', extract(epoch FROM pg_catalog.statement_timestamp())::pg_catalog.text, true),
		pg_catalog.set_config('spillway.ui_prefix', $2, true)`, live, f.opt.UIPrefix)
	return err
}

// liveJobs renders the live jobs as a JSON array.
func (f *Front) liveJobs(ctx context.Context) (string, error) {
	var b strings.Builder
	b.WriteByte('[')
	n := 0
	for info, err := range f.jobs.ListJobs(ctx, jobmanager.JobFilter{}) {
		if err != nil {
			return "", err
		}
		object, err := json.Marshal(jobObject(info))
		if err != nil {
			return "", fmt.Errorf("render job: %w", err)
		}
		if n++; n > 1 {
			b.WriteByte(',')
		}
		b.Write(object)
		if b.Len() > f.opt.LiveLimit {
			return "", &pgwire.Error{Code: codeTooLarge, Message: fmt.Sprintf("more than %d live jobs do not fit into %s.jobs", n-1, f.opt.SystemSchema),
				Hint: fmt.Sprintf("SHOW JOBS lists them all; ended jobs are in %s.job_history", f.opt.LedgerSchema)}
		}
	}
	b.WriteByte(']')
	return b.String(), nil
}
