package sqlfront

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

const (
	jobVerify  jobmanager.JobType = "verify"
	jobCleanup jobmanager.JobType = "cleanup"
)

// keeps reports whether jobs of a type move no rows, and tell of what they found.
func keeps(t jobmanager.JobType) bool { return t == jobVerify || t == jobCleanup }

var verifyOptions = []option{{"wait", boolean}, {"parallelism", between(1, 64)}}

var cleanupOptions = []option{{"wait", boolean}, {"dry_run", boolean}}

// verify runs VERIFY TABLE.
func (r *request) verify(ctx context.Context, s *parse.VerifyTable) ([][]any, error) {
	params, err := readOptionsOf(verifyOptions, s.Options)
	if err != nil {
		return nil, err
	}
	t, err := r.look(ctx, jobmanager.Table{Namespace: s.Table.Schema, Name: s.Table.Table})
	if err != nil {
		return nil, err
	}
	if err := r.verifiable(ctx, t, s.Table.Pos); err != nil {
		r.auditError(ctx, t.actor, err, s.Table.Pos)
		return nil, err
	}
	return r.keep(ctx, jobVerify, "VERIFY", t, params, s.Table.Pos)
}

// verifiable says why the actor cannot verify a table. One that was dropped may still have cold rows, which are nobody's but
// the operators'.
func (r *request) verifiable(ctx context.Context, t target, pos int) error {
	if tooLong(t.table) { // PostgreSQL would cut the name, and find another table
		t.exists = false
	}
	switch {
	case t.exists && (t.kind != "r" && t.kind != "p"):
		return &pgwire.Error{Code: codeWrongType, Position: pos, Message: fmt.Sprintf("\"%s\" is %s", t.table, kindName(t.kind)), Hint: "only tables have cold rows"}
	case t.exists && !t.owner && !t.anywhere():
		return &pgwire.Error{Code: codePrivilege, Position: pos, Message: "must be owner of table " + t.table.Name,
			Hint: "it takes its owner, a superuser, or a member of the role " + r.opt.Operator}
	case t.exists:
		return nil
	}
	if t.anywhere() {
		if err := r.up.Release(); err != nil {
			return err
		}
		segments, err := r.catalog.LiveSegments(ctx, t.table)
		if err != nil || len(segments) > 0 {
			return err
		}
	}
	return &pgwire.Error{Code: codeUndefinedTable, Position: pos, Message: fmt.Sprintf("relation \"%s\" does not exist", t.table)}
}

// cleanup runs CLEANUP.
func (r *request) cleanup(ctx context.Context, s *parse.Cleanup) ([][]any, error) {
	params, err := readOptionsOf(cleanupOptions, s.Options)
	if err != nil {
		return nil, err
	}
	pos := 1
	if len(s.Objects) > 0 {
		urls := make([]string, len(s.Objects))
		for i, o := range s.Objects {
			urls[i] = o.URL
		}
		list, err := json.Marshal(urls)
		if err != nil {
			return nil, err
		}
		params["objects"], pos = string(list), s.Objects[0].Pos
	}
	t, err := r.look(ctx, jobmanager.Table{})
	if err != nil {
		return nil, err
	}
	if !t.anywhere() {
		err := &pgwire.Error{Code: codePrivilege, Message: "permission denied to clean up",
			Hint: "it takes a superuser, or a member of the role " + r.opt.Operator}
		r.auditError(ctx, t.actor, err, 0)
		return nil, err
	}
	return r.keep(ctx, jobCleanup, "CLEANUP", t, params, pos)
}

// keep starts a job that moves no rows, and waits for it if that was asked for.
func (r *request) keep(ctx context.Context, jobType jobmanager.JobType, verb string, t target, params map[string]string, pos int) ([][]any, error) {
	wait := params["wait"] != ""
	delete(params, "wait")
	if wait && r.up.Block() != pgwire.Idle {
		return nil, waitInTransaction(verb)
	}
	if err := r.up.Release(); err != nil {
		return nil, err
	}
	started, err := r.startJob(ctx, jobType, t, params)
	if err != nil {
		r.auditError(ctx, t.actor, err, pos)
		return nil, sqlError(err, pos)
	}
	if wait {
		return r.waitFor(ctx, []launch{started})
	}
	return [][]any{started.row()}, nil
}

// Findings sums up what a VERIFY or a CLEANUP found.
type Findings struct {
	Segments, Rows, Bytes   int64 // read back
	Damaged, Missing        int64 // segments
	Strays, StrayBytes      int64 // objects that a VERIFY cannot explain
	Deleted, DeletedBytes   int64
	ToDelete, ToDeleteBytes int64 // of a dry run, or of a job that ended early
	Kept                    int64
}

// tellFindings says in a notice what a job that has ended found. It is beside the answer, and never an error.
func (r *request) tellFindings(ctx context.Context, info jobmanager.JobInfo) {
	if !keeps(info.ID.Type) || !info.Status.Terminal() {
		return
	}
	f, err := r.catalog.Findings(ctx, info.ID)
	if err != nil {
		r.opt.Logger.Warn("findings of a job not known", "job", info.ID.String(), "error", err)
		return
	}
	if info.ID.Type == jobVerify {
		r.notice(pgwire.Notice{Message: info.ID.Table.String() + ": " + f.verified()})
	} else {
		r.notice(pgwire.Notice{Message: "cleanup: " + f.cleaned()})
	}
}

func (f Findings) verified() string {
	text := fmt.Sprintf("%s read back (%s, %s)", plural(f.Segments, "segment"), plural(f.Rows, "row"), prettySize(f.Bytes))
	if f.Damaged+f.Missing+f.Strays == 0 {
		return text + ", all as they were registered; no stray objects"
	}
	text += fmt.Sprintf(": %d damaged, %d missing; %s", f.Damaged, f.Missing, plural(f.Strays, "stray object"))
	if f.Strays > 0 {
		text += " (" + prettySize(f.StrayBytes) + ")"
	}
	return text
}

func (f Findings) cleaned() string {
	text := fmt.Sprintf("%s removed (%s)", plural(f.Deleted, "object"), prettySize(f.DeletedBytes))
	if f.ToDelete > 0 {
		text += fmt.Sprintf(", %s to be removed (%s)", plural(f.ToDelete, "object"), prettySize(f.ToDeleteBytes))
	}
	if f.Kept > 0 {
		text += fmt.Sprintf(", %d kept", f.Kept)
	}
	return text
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
