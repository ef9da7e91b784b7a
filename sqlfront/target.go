package sqlfront

import (
	"context"
	"fmt"
	"strings"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// safePath keeps a client's own operators, functions and types out of our questions. Named last, pg_temp is searched last.
const safePath = "pg_catalog, pg_temp"

// actor is who asks, by PostgreSQL's own word.
type actor struct {
	user     string // who logged in
	role     string // who acts
	super    bool
	operator bool
}

// anywhere reports whether the actor may work on tables of others.
func (a actor) anywhere() bool { return a.super || a.operator }

// String is what the audit shows.
func (a actor) String() string {
	if a.role != a.user {
		return a.user + " (as " + a.role + ")"
	}
	return a.user
}

// target is a table as the actor's session sees it.
type target struct {
	actor
	table     jobmanager.Table
	oid       string
	exists    bool
	kind      string // relkind
	temporary bool
	owner     bool // the actor has the owner's rights
	selects   bool // the actor may read it
}

// pinned runs f under a search_path that no client can lay traps in, and puts the client's back.
func (r *request) pinned(ctx context.Context, f func() error) error {
	if _, err := r.up.Query(ctx, `SELECT pg_catalog.set_config('spillway.search_path', pg_catalog.current_setting('search_path'), true),
		pg_catalog.set_config('search_path', $1, true)`, safePath); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err // the transaction ends, and the setting with it
	}
	if r.up.Block() == pgwire.Idle {
		return r.up.Release()
	}
	_, err := r.up.Query(ctx, `SELECT pg_catalog.set_config('search_path', pg_catalog.current_setting('spillway.search_path'), true)`)
	return err
}

// look finds a table and what the actor may do with it.
func (r *request) look(ctx context.Context, table jobmanager.Table) (target, error) {
	t := target{table: table}
	err := r.pinned(ctx, func() error {
		rows, err := r.up.Query(ctx, `
			SELECT session_user, current_user, me.rolsuper,
			       coalesce((SELECT pg_has_role(o.oid, 'USAGE') FROM pg_roles AS o WHERE o.rolname = $3::name), false),
			       c.oid, c.relkind, c.relpersistence = 't', pg_has_role(c.relowner, 'USAGE'),
			       has_schema_privilege(c.relnamespace, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')
			FROM pg_roles AS me
			LEFT JOIN (pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = $1::name) ON c.relname = $2::name
			WHERE me.rolname = current_user`, table.Namespace, table.Name, r.opt.Operator)
		if err != nil {
			return err
		}
		if len(rows) != 1 || len(rows[0]) != 9 {
			return fmt.Errorf("look up table: %d rows", len(rows))
		}
		v := rows[0]
		t.user, t.role, t.super, t.operator = str(v[0]), str(v[1]), str(v[2]) == "t", str(v[3]) == "t"
		t.oid, t.exists, t.kind = str(v[4]), v[4] != nil, str(v[5])
		t.temporary, t.owner, t.selects = str(v[6]) == "t", str(v[7]) == "t", str(v[8]) == "t"
		return nil
	})
	return t, err
}

func str(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// tooLong reports names that PostgreSQL would cut: they name no table.
func tooLong(t jobmanager.Table) bool { return len(t.Namespace) > 63 || len(t.Name) > 63 }

// resolve finds a table that the actor may flush or restore.
func (r *request) resolve(ctx context.Context, name parse.Name) (target, error) {
	t, err := r.look(ctx, jobmanager.Table{Namespace: name.Schema, Name: name.Table})
	if err != nil {
		return t, err
	}
	return t, r.flushable(t, name.Pos)
}

// flushable says why the actor cannot flush a table, or restore it.
func (r *request) flushable(t target, pos int) error {
	fail := func(code, hint, format string, args ...any) error {
		return &pgwire.Error{Code: code, Position: pos, Hint: hint, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case !t.exists, tooLong(t.table):
		return fail(codeUndefinedTable, "", "relation \"%s\" does not exist", t.table)
	case r.reserved(t.table.Namespace):
		return fail(codePrivilege, "", "tables of the schema \"%s\" cannot be %s", t.table.Namespace, r.deed)
	case t.kind != "r" && t.kind != "p":
		return fail(codeWrongType, "only tables and partitioned tables can be "+r.deed, "\"%s\" is %s", t.table, kindName(t.kind))
	case t.temporary:
		return fail(codeWrongType, "only this session can see its rows", "\"%s\" is a temporary table", t.table)
	case !t.owner && !t.anywhere():
		return fail(codePrivilege, "it takes its owner, a superuser, or a member of the role "+r.opt.Operator, "must be owner of table %s", t.table.Name)
	}
	return nil
}

func (r *request) reserved(schema string) bool {
	return schema == r.opt.SystemSchema || schema == r.opt.LedgerSchema || schema == "information_schema" || strings.HasPrefix(schema, "pg_")
}

func kindName(kind string) string {
	names := map[string]string{"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "i": "an index",
		"I": "an index", "c": "a composite type", "t": "a TOAST table"}
	if n, ok := names[kind]; ok {
		return n
	}
	return "not a table"
}
