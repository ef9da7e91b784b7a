package sqlfront_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront"
)

// planner answers as the test tells it to, by the table's name.
type planner struct {
	refusals map[string]*sqlfront.Refusal
	fail     map[string]error
	outlook  sqlfront.Outlook
	asked    map[string]string // parameters of the last question
}

func (p *planner) Check(_ context.Context, table jobmanager.Table, params map[string]string) (*sqlfront.Refusal, error) {
	p.asked = maps.Clone(params)
	return p.refusals[table.Name], p.fail[table.Name]
}

func (p *planner) Outlook(_ context.Context, table jobmanager.Table, params map[string]string) (*sqlfront.Outlook, error) {
	p.asked = maps.Clone(params)
	return &p.outlook, p.fail[table.Name]
}

func plannedWorld(t *testing.T) (*world, *planner, *pgx.Conn) {
	t.Helper()
	p := &planner{refusals: map[string]*sqlfront.Refusal{}, fail: map[string]error{}}
	w := newWorld(t, &sqlfront.Options{PollEvery: 5 * time.Millisecond, Planner: p})
	w.Exec(t, "CREATE TABLE app.events (id int, at timestamptz)", "CREATE TABLE app.ruled (id int)", "CREATE TABLE app.locked (id int)", "CREATE TABLE app.unseen (id int)")
	p.refusals["ruled"] = &sqlfront.Refusal{Table: "app.ruled", Code: "55000", Message: `its rule "keep" rewrites DELETE`, Hint: "DROP RULE"}
	p.fail["locked"] = errors.New("somebody holds it")
	p.fail["unseen"] = fmt.Errorf("look: %w", sqlfront.ErrNoTable)
	return w, p, w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
}

// What cannot be flushed is an error of the statement, with its hint, and no job.
func TestRefusedAtOnce(t *testing.T) { // A55
	t.Parallel()
	w, _, conn := plannedWorld(t)
	e := pgError(t, exec(t, conn, "FLUSH TABLE app.ruled"))
	if e.Code != "55000" || e.Hint != "DROP RULE" || e.Position != 13 || e.Message != `table app.ruled cannot be flushed: its rule "keep" rewrites DELETE` {
		t.Errorf("%+v", e)
	}
	if got := w.catalog.lastAudit().Outcome; got != "55000" {
		t.Errorf("audited as %s", got)
	}
	if e := pgError(t, exec(t, conn, "FLUSH TABLE app.unseen")); e.Code != "42P01" || !strings.Contains(e.Hint, "COMMIT") {
		t.Errorf("a table that the worker does not see: %+v", e)
	}
	if n := w.jobs.count(); n != 0 {
		t.Errorf("%d jobs", n)
	}
	if err := exec(t, conn, "FLUSH TABLE app.locked"); err != nil || w.jobs.count() != 1 {
		t.Errorf("a table that could not be looked at: %v, %d jobs", err, w.jobs.count())
	}
	w.jobs.endAll()
	w.catalog.tables = []jobmanager.Table{{Namespace: "app", Name: "events"}, {Namespace: "app", Name: "ruled"}}
	rows, err := start(t.Context(), conn, "FLUSH ALL")
	if err != nil || len(rows) != 2 || rows[0].JobID == nil || rows[1].JobID != nil || !strings.Contains(*rows[1].Error, "keep") {
		t.Errorf("%+v, %v", rows, err)
	}
}

// What does not fit the table is told where it stands in the statement.
func TestLayoutThatDoesNotFit(t *testing.T) {
	t.Parallel()
	w, p, conn := plannedWorld(t)
	sql := "FLUSH TABLE app.events WITH (order_by = (id DESC NULLS FIRST, \"At\"), path = '{x}', partition_by = (id, day(id)))"
	for _, c := range []struct {
		spec jobmanager.SpecError
		at   string
	}{
		{jobmanager.SpecError{Param: "order_by", Item: `"At"`, Msg: "no", Hint: "h"}, `"At"`},
		{jobmanager.SpecError{Param: "order_by", Item: `id DESC`, Msg: "no"}, `id DESC`},
		{jobmanager.SpecError{Param: "partition_by", Item: `day(id)`, Msg: "no"}, `day(id)`},
		{jobmanager.SpecError{Param: "partition_by", Msg: "no"}, `(id, day`},
		{jobmanager.SpecError{Param: "path", Msg: "no"}, `'{x}'`},
		{jobmanager.SpecError{Param: "bloom", Msg: "no"}, "app.events"},
	} {
		p.fail["events"] = &c.spec
		for _, verb := range []string{"", "EXPLAIN "} {
			e := pgError(t, exec(t, conn, verb+sql))
			if want := strings.Index(verb+sql, c.at) + 1; e.Code != "22023" || int(e.Position) != want || e.Message != "no" || e.Hint != c.spec.Hint {
				t.Errorf("%+v: %s %q at %d, want %d", c.spec, e.Code, e.Message, e.Position, want)
			}
		}
	}
	if n := w.jobs.count(); n != 0 {
		t.Errorf("%d jobs", n)
	}
	delete(p.fail, "events")
	p.outlook.Layout = []sqlfront.Property{{Name: "sort", Value: "by PostgreSQL", Detail: "d"}}
	rows := explain(t, conn, "EXPLAIN "+sql)
	if got := property(rows, "app.events", "sort"); len(got) != 1 || got[0] != "by PostgreSQL" {
		t.Errorf("%v", rows)
	}
	if p.asked["order_by"] != `id DESC, "At"` || p.asked["partition_by"] != "id, day(id)" || p.asked["path"] != "{x}" {
		t.Errorf("asked with %v", p.asked)
	}
}

func property(rows [][4]string, subject, name string) []string {
	var out []string
	for _, r := range rows {
		if r[0] == subject && r[1] == name {
			out = append(out, r[2])
		}
	}
	return out
}

func explain(t *testing.T, conn *pgx.Conn, sql string) [][4]string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r [4]string, err error) {
		var detail *string
		err = row.Scan(&r[0], &r[1], &r[2], &detail)
		if detail != nil {
			r[3] = *detail
		}
		return r, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestExplainFlush(t *testing.T) {
	t.Parallel()
	w, p, conn := plannedWorld(t)
	four, none := int64(4), int64(0)
	p.outlook = sqlfront.Outlook{
		Limit: "at < 'x'", Parallelism: 3, Storage: "default", Location: "file:///cold",
		Refusals: []sqlfront.Refusal{{Table: "app.e1", Code: "55000", Message: "no", Hint: "do"}},
		Leaves: []sqlfront.LeafOutlook{
			{Name: "app.e1", Rows: &four, AllRows: 10, Bytes: 20480, Chunks: 2, Blocks: 2, ChunkBlocks: 1, Files: 2, Directory: "app/events/e1",
				Way: sqlfront.WayIndex, Why: "cheaper", Key: "at", Cost: 9.3, BlockCost: 125.5, Vacuum: true,
				Scan: "Index Scan", Index: "e1_at", Triggers: []string{"tell"}, ForeignKeys: []string{"fk of app.x"}, Publications: []string{"pub"}},
			{Name: "app.e2", Rows: &none, AllRows: 5, Bytes: 8192, Chunks: 1, Blocks: 1, ChunkBlocks: 1, Directory: "app/events/e2", Scan: "Seq Scan", Way: sqlfront.WayBlocks, VacuumDenied: true},
		},
	}
	rows := explain(t, conn, "EXPLAIN FLUSH TABLE app.events OLDER THAN '7 days' WITH (wait, parallelism = 3) WHERE id < 5")
	for _, c := range []struct{ subject, name, want string }{
		{"app.events", "outcome", "refused"}, {"app.e1", "refusal", "no (55000)"}, {"app.events", "predicate", "(id < 5)"},
		{"app.events", "older_than", "at < 'x'"}, {"app.events", "rows", "4"}, {"app.events", "bytes", "28672"}, {"app.events", "chunks", "3"},
		{"app.events", "files", "2"}, {"app.events", "parallelism", "3"}, {"app.events", "storage", "default"}, {"app.events", "lock", "ROW EXCLUSIVE"},
		{"app.e1", "rows", "4"}, {"app.e1", "index", "e1_at"}, {"app.e1", "trigger", "tell"}, {"app.e1", "foreign_key", "fk of app.x"},
		{"app.e1", "publication", "pub"}, {"app.e1", "directory", "app/events/e1"}, {"app.e2", "index", "none"}, {"app.e2", "cut", "block ranges"},
		{"app.e1", "cut", "index ranges"}, {"app.e1", "vacuum", "yes"}, {"app.e2", "vacuum", "no right"},
	} {
		if got := property(rows, c.subject, c.name); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s of %s: %q, want %q", c.name, c.subject, got, c.want)
		}
	}
	if p.asked["older_than"] != "7 days" || p.asked["age_column"] != "at" || p.asked["where"] == "" || p.asked["wait"] != "" {
		t.Errorf("asked with %v", p.asked)
	}
	if n := w.jobs.count(); n != 0 {
		t.Errorf("%d jobs", n)
	}
	// Busy, and ready.
	p.outlook.Refusals = nil
	if got := property(explain(t, conn, "EXPLAIN FLUSH TABLE app.events"), "app.events", "outcome"); len(got) != 1 || got[0] != "ready" {
		t.Errorf("outcome %q", got)
	}
	if err := exec(t, conn, "FLUSH TABLE app.events"); err != nil {
		t.Fatal(err)
	}
	if got := property(explain(t, conn, "EXPLAIN FLUSH TABLE app.events"), "app.events", "running_job"); len(got) != 1 {
		t.Errorf("running job %q", got)
	}
	// Rights and errors are those of FLUSH.
	_, direct := w.user(t, "stranger", "GRANT USAGE ON SCHEMA app TO USER")
	if e := pgError(t, exec(t, w.through(t, direct, pgx.QueryExecModeExec), "EXPLAIN FLUSH TABLE app.events")); e.Code != "42501" {
		t.Errorf("a stranger: %+v", e)
	}
	if e := pgError(t, exec(t, conn, "EXPLAIN FLUSH TABLE app.events WHERE nope = 1")); e.Code != "42703" {
		t.Errorf("an unknown column: %+v", e)
	}
	if e := pgError(t, exec(t, newWorldConn(t), "EXPLAIN FLUSH TABLE app.events")); e.Code != "0A000" {
		t.Errorf("without a planner: %+v", e)
	}
}

// Which way each leaf goes, with its cost and consequences; and of a thousand leaves one row each and a sum of the ways.
func TestExplainWays(t *testing.T) {
	t.Parallel()
	_, p, conn := plannedWorld(t)
	ten := int64(10)
	p.outlook = sqlfront.Outlook{Leaves: []sqlfront.LeafOutlook{
		{Name: "app.e1", Rows: &ten, AllRows: 10, Chunks: 1, Way: sqlfront.WayTruncate, Why: "no row is to stay"},
		{Name: "app.e2", Rows: &ten, AllRows: 10, Chunks: 1, Way: sqlfront.WayDetach},
		{Name: "app.e3", Rows: new(int64), Way: sqlfront.WayNone, Why: "its constraints leave no row to move", Scan: "Result"},
		{Name: "app.e4", Rows: &ten, Chunks: 3, Way: sqlfront.WayIndex, Key: "at", Why: "index i is cheaper", Cost: 9.3, BlockCost: 125.5, Scan: "Index Scan", Index: "i"},
	}}
	rows := explain(t, conn, "EXPLAIN FLUSH TABLE app.events WITH (whole_partition = truncate)")
	detail := map[string]string{}
	for _, r := range rows {
		detail[r[0]+" "+r[1]+" "+r[2]] += r[3]
	}
	for what, say := range map[string]string{
		"app.e1 cut whole partition, TRUNCATE": "no row is to stay", "app.e2 cut whole partition, DETACH": "one transaction", "app.e3 cut nothing": "constraints",
		"app.e4 cut index ranges": "9 by the index, 126 by blocks", "app.events lock ACCESS EXCLUSIVE": "default partition", "app.events waits SELECT, INSERT, UPDATE, DELETE": "",
		"app.events snapshots older ones see such rows in neither place": "", "app.events chunks 5": "about",
	} {
		if got, ok := detail[what]; !ok || !strings.Contains(got, say) {
			t.Errorf("%s: %q, want %q", what, got, say)
		}
	}
	if p.asked["whole_partition"] != "truncate" {
		t.Errorf("asked with %v", p.asked)
	}
	for i := len(p.outlook.Leaves); i < 1000; i++ {
		p.outlook.Leaves = append(p.outlook.Leaves, sqlfront.LeafOutlook{Name: fmt.Sprintf("app.m%d", i), Rows: &ten, AllRows: 20, Bytes: 8192, Chunks: 1, Way: sqlfront.WayBlocks})
	}
	rows = explain(t, conn, "EXPLAIN FLUSH TABLE app.events WITH (vacuum = false)")
	if len(rows) > 1000+30 {
		t.Errorf("%d rows about a thousand partitions", len(rows))
	}
	if got := property(rows, "app.events", "cut"); len(got) != 5 {
		t.Errorf("ways of the table: %q", got)
	}
	if got := property(rows, "app.m999", "cut"); len(got) != 1 || got[0] != "block ranges" {
		t.Errorf("the last partition: %q", got)
	}
	if p.asked["vacuum"] != "false" {
		t.Errorf("asked with %v", p.asked)
	}
	for _, bad := range []string{"whole_partition = drop", "vacuum = full"} {
		if e := pgError(t, exec(t, conn, "FLUSH TABLE app.events WITH ("+bad+")")); e.Code != "22023" || e.Position == 0 {
			t.Errorf("%s: %+v", bad, e)
		}
	}
}

// newWorldConn is a connection through a front-end that has no planner.
func newWorldConn(t *testing.T) *pgx.Conn {
	t.Helper()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.events (id int)")
	return w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
}

func TestShowJobWhenComplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.events (id int)")
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	rows, err := start(t.Context(), conn, "FLUSH TABLE app.events")
	if err != nil {
		t.Fatal(err)
	}
	statement := "SHOW JOB '" + *rows[0].JobID + "' WHEN COMPLETE"
	if err := exec(t, conn, "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if e := pgError(t, exec(t, conn, statement)); e.Code != "25001" {
		t.Errorf("inside a transaction: %+v", e)
	}
	if err := exec(t, conn, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	waiting, told := noticed(t, w)
	done := make(chan error, 1)
	var status string
	go func() {
		rows, err := waiting.Query(context.Background(), "SHOW JOB $1 WHEN COMPLETE", *rows[0].JobID)
		if err == nil {
			var m map[string]any
			m, err = pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
			status, _ = m["status"].(string)
		}
		done <- err
	}()
	<-told // it waits, and says so
	w.jobs.set(func(j *jobmanager.JobInfo) { j.Status = jobmanager.Failed; j.Error = "no luck" })
	if err := <-done; err != nil || status != "failed" {
		t.Errorf("status %q, %v", status, err)
	}
	if err := exec(t, conn, statement); err != nil {
		t.Errorf("of a job that has ended: %v", err)
	}
}

// noticed is a connection whose first notice closes the channel.
func noticed(t *testing.T, w *world) (*pgx.Conn, chan struct{}) {
	t.Helper()
	told := make(chan struct{})
	conn := w.noticing(t, func() func(string) {
		seen := false
		return func(string) {
			if !seen {
				seen = true
				close(told)
			}
		}
	}())
	return conn, told
}

// noticing is the owner's connection through the front-end; f is called for each notice.
func (w *world) noticing(t *testing.T, f func(string)) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig("postgres://" + w.address + "/" + w.Name)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := pgx.ParseConfig(w.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	cfg.User, cfg.Password = owner.User, owner.Password
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { f(n.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// A flush that was waited for tells what it did to the size of its table.
func TestSpaceNotice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.events (id int)")
	w.catalog.space = map[string]sqlfront.Space{"events": {
		Rows: 1000000, HotBefore: 312 << 20, HotAfter: 312 << 20, DeadBytes: 300 << 20, ColdBytes: 41 << 20, Segments: 5, NotVacuumed: 3}}
	messages := make(chan string, 100)
	conn := w.noticing(t, func(m string) { messages <- m })
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "FLUSH TABLE app.events WITH (wait)")
		done <- err
	}()
	<-messages
	w.jobs.set(func(j *jobmanager.JobInfo) { j.Status = jobmanager.Completed })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	close(messages)
	last, before := "", ""
	for m := range messages {
		before, last = last, m
	}
	const denied = "app.events: not vacuumed, for the worker's role lacks the right on 3 of its tables"
	if last != denied || before == "" {
		t.Errorf("got  %s\nwant %s", last, denied)
	}
	last = before
	const want = "app.events: 1000000 rows moved, 312 MB hot before, 312 MB now, of which VACUUM can make free about 300 MB; 41 MB cold in 5 segments"
	if last != want {
		t.Errorf("got  %s\nwant %s", last, want)
	}
}
