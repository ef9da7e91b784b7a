package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/await"
)

// lane is a database with a storage, and a machine that nothing happens to. One walk at a time uses it.
type lane struct {
	t     testing.TB // of the walk
	db    *pgtest.DB
	dir   string // of the storage
	super *pgx.Conn
	owner *pgx.Conn // of the application

	fill string // what the table holds

	relay   *relay
	url     string // through the relay
	healthy *machine

	writes int
	jobs   []string // of the walk
}

// newLane makes a lane that lives as long as t.
func newLane(t testing.TB) *lane {
	t.Helper()
	return newLaneOn(t, pgtest.Database(t))
}

func newLaneOn(t testing.TB, db *pgtest.DB) *lane {
	t.Helper()
	dir := t.TempDir()
	return newLaneIn(t, db, dir, "file://"+dir, nil)
}

// newLaneIn makes a lane whose storage has its objects in a folder, whatever its location says.
func newLaneIn(t testing.TB, db *pgtest.DB, dir, location string, options map[string]string) *lane {
	t.Helper()
	l := &lane{t: t, db: db, dir: dir, fill: few}
	l.super, l.owner = l.db.Connect(t, l.db.SuperURL), l.db.Connect(t, l.db.OwnerURL)
	l.relay, l.url = newRelay(t, l.db.WorkerURL)
	l.owns("GRANT USAGE ON SCHEMA app TO " + l.db.Worker)
	var err error
	l.healthy, err = boot(context.Background(), l.db.WorkerURL)
	l.must(err)
	t.Cleanup(l.healthy.close)
	ctx := context.Background()
	l.must(l.healthy.ledger.Migrate(ctx))
	_, err = l.healthy.ledger.Installation(ctx, "faults")
	l.must(err)
	_, err = l.healthy.ledger.EnsureDefaultBucket(ctx, location, options)
	l.must(err)
	return l
}

func (l *lane) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lane) owns(statements ...string) {
	l.t.Helper()
	for _, s := range statements {
		if _, err := l.owner.Exec(context.Background(), s); err != nil {
			l.t.Fatalf("%s: %v", s, err)
		}
	}
}

// value is the answer to a query of the superuser's.
func value[T any](l *lane, sql string, args ...any) (v T) {
	l.t.Helper()
	if err := l.super.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		l.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// rows are few, for there are many walks: two chunks, and three directories of files in each.
const (
	rows = 480
	few  = "SELECT i, i % 3, repeat('note ' || i, 25), i / 100.0 FROM generate_series(1, 480) i"
)

// furnish makes the table anew, empties the ledger and the storage, and does what an operation needs to be there before it. What must
// exist stands in app.want.
func (l *lane) furnish(t testing.TB, op operation) job {
	t.Helper()
	l.t, l.jobs = t, nil
	l.relay.lose.Store(false)
	ctx := context.Background()
	_, err := l.super.Exec(ctx, "TRUNCATE spillway.attempts, spillway.attempt_objects, spillway.chunks, spillway.segments, spillway.claims, spillway.plans, spillway.failures, spillway.job_history, spillway.requests, spillway.findings")
	l.must(err)
	l.must(os.RemoveAll(filepath.Join(l.dir, "app")))
	l.owns("DROP TABLE IF EXISTS app.t, app.want",
		"CREATE TABLE app.t (id int, tenant int, note text, amount numeric(12,2))",
		"INSERT INTO app.t "+l.fill,
		"CREATE TABLE app.want AS TABLE app.t",
		"GRANT SELECT, INSERT, UPDATE, DELETE ON app.t TO "+l.db.Worker)
	if op != opFlush && op != opScatter {
		l.run(l.job(opFlush, l.params(opFlush)))
	}
	params := l.params(op)
	switch op {
	case opCleanup:
		l.orphan(true)
		l.orphan(false)
	case opStrays:
		params["objects"] = encode(l.stray("app/t/stray-1.parquet"), l.stray("app/t/stray-2.parquet"))
	}
	return l.job(op, params)
}

// params are those of an operation in this lane. Where the table is large, one chunk takes it all.
func (l *lane) params(op operation) map[string]string {
	params := op.params()
	if l.fill != few && params["chunk_bytes"] != "" {
		params["chunk_bytes"] = "1GB"
	}
	return params
}

func encode(urls ...string) string {
	text, _ := json.Marshal(urls) // strings always have a JSON form
	return string(text)
}

// job asks for a job.
func (l *lane) job(op operation, params map[string]string) job {
	l.t.Helper()
	j, err := l.healthy.ask(context.Background(), op, params)
	l.must(err)
	l.jobs = append(l.jobs, j.ID)
	return j
}

// run drives a job on the healthy machine.
func (l *lane) run(j job) {
	l.t.Helper()
	if err := l.healthy.drive(context.Background(), j, 3); err != nil {
		l.t.Fatalf("a %s without faults: %v", j.Op, err)
	}
}

// stray puts an object that nothing explains.
func (l *lane) stray(key string) (url string) {
	l.t.Helper()
	store, _, err := l.healthy.stores.Store(context.Background(), "")
	l.must(err)
	l.must(store.PutIfAbsent(context.Background(), key, []byte("stray")))
	return store.URL(key)
}

// orphan is what a process leaves behind that was killed, with an object or without.
func (l *lane) orphan(object bool) {
	l.t.Helper()
	id := uuid.New()
	prefix := "app/t/2026-01-01T00-00-00.000Z-" + id.String()
	_, err := l.super.Exec(context.Background(), `INSERT INTO spillway.attempts (attempt_id, job_id, chunk, storage, object_prefix, backend_pid, backend_start)
		VALUES ($1::text::uuid, 'flush:app.t:' || $1, 3, 'default', $2, 1, now())`, id.String(), prefix)
	l.must(err)
	if object {
		l.stray(prefix + ".parquet")
	}
}

// write does what an application may do at any time: it inserts a row and updates one, in one transaction, and is never made to wait
// for long.
func (l *lane) write() error {
	ctx := context.Background()
	l.writes++
	tx, err := l.owner.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	for _, s := range []string{
		"SET LOCAL lock_timeout = '5s'",
		fmt.Sprintf("WITH n AS (INSERT INTO app.t (id, tenant, note, amount) VALUES (%d, 1, 'inserted', 0) RETURNING *) INSERT INTO app.want SELECT * FROM n", 100000+l.writes),
		"WITH u AS (UPDATE app.t SET note = 'updated' WHERE id = (SELECT id FROM app.t WHERE id < 100000 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id) UPDATE app.want SET note = 'updated' WHERE id IN (SELECT id FROM u)",
	} {
		if _, err := tx.Exec(ctx, s); err != nil {
			return err
		}
	}
	return tx.Commit(ctx)
}

// alter adds a column, with a value in each row.
func (l *lane) alter() error {
	_, err := l.owner.Exec(context.Background(),
		"SET lock_timeout = '5s'; ALTER TABLE app.t ADD COLUMN extra text DEFAULT 'precious'; ALTER TABLE app.want ADD COLUMN extra text DEFAULT 'precious'; RESET lock_timeout")
	return err
}

// lookForStrays runs VERIFY, wants it to report so many stray objects at least, and removes them by name.
func (l *lane) lookForStrays(least int) {
	l.t.Helper()
	ctx := context.Background()
	req := ledger.Request{ID: uuid.New(), JobType: jobstep.VerifyType, Schema: "app", Table: "t", Params: map[string]string{}, Trigger: "command"}
	l.must(l.healthy.ledger.PutRequest(ctx, req))
	id := "verify:app.t:" + uuid.NewString()
	_, err := l.healthy.k.PlanVerify(ctx, jobstep.PlanInput{JobID: id, RequestID: req.ID.String(), Generation: 1})
	l.must(err)
	res, err := l.healthy.k.FindStrays(ctx, id)
	if err != nil && jobstep.ClassOf(err).Name != jobstep.ClassDamaged {
		l.t.Fatal(err)
	}
	found, err := l.healthy.ledger.Findings(ctx, id)
	l.must(err)
	var urls []string
	for _, f := range found {
		if f.Kind == ledger.KindStray {
			urls = append(urls, f.Location)
		}
	}
	if len(urls) < least {
		l.t.Errorf("VERIFY reports too few stray objects: %+v", res)
	}
	if len(urls) == 0 {
		return
	}
	l.run(l.job(opStrays, map[string]string{"objects": encode(urls...)}))
}

// settle runs a flush and a clean-up as they come some day, and then judges.
func (l *lane) settle() {
	l.t.Helper()
	l.checkRows("after the job")
	l.run(l.job(opFlush, l.params(opFlush)))
	l.run(l.job(opCleanup, opCleanup.params()))
	if n := value[int](l, "SELECT count(*) FROM app.t"); n != 0 {
		l.t.Errorf("%d rows are hot after the next flush", n)
	}
}

// checkRows wants each row once, hot or cold.
func (l *lane) checkRows(when string) {
	l.t.Helper()
	before := l.t.Failed()
	audit.Check(l.t, l.db.SuperURL, "app", "t", audit.Hot(l.t, l.db.SuperURL, "app", "want", ""))
	if l.t.Failed() && !before {
		l.t.Errorf("that was %s", when)
	}
}

// judge is the audit at the end of a walk.
func (l *lane) judge() {
	l.t.Helper()
	l.checkRows("at the end")
	audit.Storage(l.t, l.db.SuperURL, l.dir)
	l.none("a claim is left", "SELECT job_id FROM spillway.claims")
	l.none("a job has no end", "SELECT j FROM unnest($1::text[]) j WHERE NOT EXISTS (SELECT FROM spillway.job_history WHERE job_id = j)", l.jobs)
	l.none("an attempt is neither committed nor condemned and swept", "SELECT attempt_id::text FROM spillway.attempts WHERE condemned_at IS NULL OR swept_at IS NULL")
	l.none("a committed attempt can be condemned", "SELECT attempt_id::text FROM spillway.attempts JOIN spillway.chunks USING (attempt_id)")
	l.none("objects are recorded for no attempt", "SELECT attempt_id::text FROM spillway.attempt_objects WHERE attempt_id NOT IN (SELECT attempt_id FROM spillway.attempts)")
	l.none("a chunk and its segments disagree", `SELECT c.job_id || ' ' || c.chunk FROM spillway.chunks c
		LEFT JOIN LATERAL (SELECT coalesce(sum(s.row_count), 0) AS rows, count(*) AS n FROM spillway.segments s
			WHERE s.job_id = c.job_id AND s.chunk = c.chunk AND s.attempt = c.attempt_id) AS s ON true
		WHERE c.job_id LIKE 'flush:%' AND (c.row_count, c.segments) IS DISTINCT FROM (s.rows, s.n)`)
	l.none("a segment belongs to no committed chunk", `SELECT s.location FROM spillway.segments s WHERE NOT EXISTS
		(SELECT FROM spillway.chunks c WHERE c.job_id = s.job_id AND c.chunk = s.chunk AND c.attempt_id = s.attempt)`)
	l.none("a job's end counts other rows than its chunks", `SELECT h.job_id || ': ' || h.rows_flushed FROM spillway.job_history h WHERE h.job_type IN ('flush', 'restore') AND h.status = 'completed'
		AND h.rows_flushed <> (SELECT coalesce(sum(row_count), 0) FROM spillway.chunks c WHERE c.job_id = h.job_id)`)
	l.idle()
}

// none wants a query to find nothing.
func (l *lane) none(what, sql string, args ...any) {
	l.t.Helper()
	found, err := l.super.Query(context.Background(), sql, args...)
	l.must(err)
	list, err := pgx.CollectRows(found, pgx.RowTo[string])
	l.must(err)
	if len(list) > 0 {
		l.t.Errorf("%s: %s", what, strings.Join(list, ", "))
	}
}

// idle wants no session of the product's in a transaction, and no lock of one. A backend that was ended goes a moment later.
func (l *lane) idle() {
	l.t.Helper()
	const open = `SELECT coalesce(string_agg(a.application_name || ' ' || a.state || ' ' || left(a.query, 60), '; '), '') FROM pg_stat_activity a
		WHERE a.datname = current_database() AND a.usename = $1 AND (a.xact_start IS NOT NULL AND a.application_name LIKE 'spillway:%'
		OR a.pid IN (SELECT pid FROM pg_locks WHERE locktype IN ('relation', 'tuple', 'transactionid') AND NOT fastpath))`
	found := ""
	if !await.Within(10*time.Second, func() bool { found = value[string](l, open, l.db.Worker); return found == "" }) {
		l.t.Errorf("sessions in a transaction or with locks: %s", found)
	}
}

// victim is a machine whose connections go through the relay.
func (l *lane) victim() *machine {
	l.t.Helper()
	m, err := boot(context.Background(), l.url)
	l.must(err)
	return m
}

var errNotReached = errors.New("the point was never reached")
