package clients

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/tests/await"
)

// player writes the lines of a scene.
type player struct {
	*pgx.Conn
	t     *testing.T
	lines strings.Builder
}

func (p *player) say(format string, args ...any) { fmt.Fprintf(&p.lines, format+"\n", args...) }

// one scans the first row of a query.
func (p *player) one(dest []any, sql string, args ...any) {
	p.t.Helper()
	if err := p.QueryRow(p.t.Context(), sql, args...).Scan(dest...); err != nil {
		p.t.Fatalf("%s: %v", sql, err)
	}
}

// code is the SQLSTATE of a statement's error.
func (p *player) code(sql string, args ...any) string {
	_, err := p.Exec(p.t.Context(), sql, args...)
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

// job is a row of our answers, by column.
func (p *player) row(sql string, args ...any) map[string]any {
	p.t.Helper()
	rows, err := p.Query(p.t.Context(), sql, args...)
	must(p.t, err)
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
	if err != nil {
		p.t.Fatalf("%s: %v", sql, err)
	}
	return row
}

func connectAs(t *testing.T, address string, mode pgx.QueryExecMode) (*pgx.Conn, *[]string) {
	t.Helper()
	cfg, err := pgx.ParseConfig(address)
	must(t, err)
	cfg.DefaultQueryExecMode = mode
	notices := new([]string)
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { *notices = append(*notices, n.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn, notices
}

func pgxScene(t *testing.T, r *rig, name string) string {
	conn, notices := connectAs(t, r.through(t, r.db.OwnerURL), pgx.QueryExecModeCacheStatement)
	p := &player{Conn: conn, t: t}
	ctx := t.Context()

	var n, sum int
	var s string
	var null *string
	p.one([]any{&n, &s}, "SELECT 42, 'héllo'")
	p.say("query %d %s", n, s)
	p.one([]any{&n, &s, &null}, "SELECT $1::int, $2::text, $3::text", 7, "héllo", nil)
	p.say("parameters %d %s %s", n, s, map[bool]string{true: "NULL"}[null == nil])
	p.one([]any{&n, &sum}, "SELECT count(*), sum(i) FROM (SELECT i FROM generate_series(1, $1::int) i) x", 10000)
	rows, err := p.Query(ctx, "SELECT i FROM generate_series(1, 10000) i")
	must(t, err)
	many, err := pgx.CollectRows(rows, pgx.RowTo[int])
	must(t, err)
	p.say("many rows %d %d", len(many), sum)

	must(t, second(p.Exec(ctx, "CREATE TEMP TABLE scratch (id int)")))
	tx, err := p.Begin(ctx)
	must(t, err)
	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO scratch VALUES ($1)", 1)
	batch.Queue("SHOW JOBS") // ours in the middle of a pipeline
	batch.Queue("INSERT INTO scratch VALUES ($1)", 2)
	must(t, tx.SendBatch(ctx, batch).Close())
	p.one([]any{&n}, "SELECT count(*) FROM scratch")
	must(t, tx.Rollback(ctx))
	p.one([]any{&sum}, "SELECT count(*) FROM scratch")
	p.say("transaction %d %d", n, sum)

	p.say("error %s", p.code("SELECT 1 / $1::int", 0))
	p.code("BEGIN")
	p.code("SELECT nonsense")
	p.say("aborted %s %s", p.code("SELECT 1"), p.code("SHOW JOBS"))
	p.code("ROLLBACK")

	_, err = p.CopyFrom(ctx, pgx.Identifier{"scratch"}, []string{"id"}, pgx.CopyFromRows([][]any{{1}, {2}, {3}}))
	must(t, err)
	p.one([]any{&n, &sum}, "SELECT count(*), sum(id) FROM scratch")
	p.say("copy %d %d", n, sum)
	p.code("DO $$BEGIN RAISE NOTICE 'hello'; END$$")
	p.say("notice %s", (*notices)[0])
	p.jobs(name)
	p.say("done")
	return p.lines.String()
}

func second(_ pgconn.CommandTag, err error) error { return err }

// jobs is the part of a scene that speaks of jobs.
func (p *player) jobs(name string) {
	flushed := p.row("FLUSH TABLE app." + name + "_rows WITH (wait = true)")
	id := flushed["job_id"]
	p.say("flush %s %d", flushed["status"], p.row("SELECT rows_flushed FROM system.jobs WHERE job_id = $1", id)["rows_flushed"])
	found := p.row("SELECT status, rows_flushed FROM system.jobs WHERE job_id = $1", id)
	p.say("jobs %s %d", found["status"], found["rows_flushed"])
	shown := p.row("SHOW JOB $1", id)
	p.say("shown %s %d", shown["status"], shown["rows_flushed"])
	p.say("syntax %s", p.code("FLUSH TABLES"))
	p.say("unknown %s", p.code("KILL JOB $1", "flush:app.x:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"))
	p.say("finished %s", p.code("KILL JOB $1", id))

	held := p.row("FLUSH TABLE app." + name + "_held")["job_id"]
	p.say("kill %s", p.row("KILL JOB $1", held)["status"])
	var status string
	await.Until(p.t, "the job is killed", func() bool {
		p.one([]any{&status}, "SELECT status FROM system.jobs WHERE job_id = $1", held)
		return status != "cancelling"
	})
	p.say("killed %s", status)
}

// pgxModes asks the same in each of pgx's ways of talking.
func pgxModes(t *testing.T, r *rig) {
	for name, mode := range map[string]pgx.QueryExecMode{
		"cache statement": pgx.QueryExecModeCacheStatement, "cache describe": pgx.QueryExecModeCacheDescribe,
		"describe exec": pgx.QueryExecModeDescribeExec, "exec": pgx.QueryExecModeExec, "simple": pgx.QueryExecModeSimpleProtocol,
	} {
		conn, _ := connectAs(t, r.through(t, r.db.OwnerURL), mode)
		p := &player{Conn: conn, t: t}
		for range 3 {
			var n int
			p.one([]any{&n}, "SELECT $1::int", 5)
			p.one([]any{&n}, "SELECT count(*) FROM system.jobs WHERE target = $1", "app.none")
			if n != 0 {
				t.Errorf("%s: %d jobs", name, n)
			}
			if mode != pgx.QueryExecModeSimpleProtocol { // there pgx writes KILL JOB  'x' , which is the next line
				if code := p.code("KILL JOB $1", "flush:app.x:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"); code != "42704" {
					t.Errorf("%s: %s", name, code)
				}
			}
			if code := p.code("KILL JOB 'nonsense'"); code != "22023" {
				t.Errorf("%s: %s", name, code)
			}
			if code := p.code("SELECT 1/0"); code != "22012" {
				t.Errorf("%s: %s", name, code)
			}
			must(t, second(p.Exec(t.Context(), "SHOW JOBS")))
			must(t, conn.DeallocateAll(t.Context())) // and pgx forgets its statements, ours too
		}
	}
}
