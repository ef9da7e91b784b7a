package torture

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/await"
)

// settle lets every job end: those on hold go on, and where kill is true all are killed.
func (g *rig) settle(kill bool) {
	o := &operator{g: g}
	defer o.close()
	began := time.Now()
	var live []string
	ended := await.Within(2*patience, func() bool {
		if kill || time.Since(began) > patience/6 { // after many failures the next attempt may be a minute away
			o.say("KILL JOBS", "KILL JOBS WHERE true")
		} else {
			for _, id := range live {
				o.say("RESUME", "RESUME JOB "+literal(id))
			}
		}
		var err error
		live, err = o.live()
		return err == nil && len(live) == 0
	})
	if !ended {
		g.fail("%d jobs have no end: %v", len(live), live)
	}
	g.count("seconds until jobs had ended", int64(time.Since(began).Seconds()))
	cleaned := await.Within(patience, func() bool {
		return o.say("CLEANUP", "CLEANUP WITH (wait = true)")
	})
	if !cleaned {
		g.fail("CLEANUP does not succeed")
	}
}

// judge compares what is there with the model, and looks for what was left behind.
func (g *rig) judge(clients []*client) {
	for i, tb := range g.tables {
		clear(tb.rows)
		for _, c := range clients {
			for id, v := range c.ids[i] {
				tb.rows[id] = v
			}
		}
		g.compare(tb)
	}
	a := &auditor{testingTB: g.t, g: g}
	audit.Storage(a, g.db.SuperURL, g.storage)
	g.leftovers()
	g.leaks()
	g.moved()
}

// auditor passes what an audit finds on to the rig, which counts it.
type auditor struct {
	testingTB
	g *rig
}

func (a *auditor) Errorf(format string, args ...any) { a.g.fail(format, args...) }

// compare fails for each table whose rows, hot and cold, are not exactly those of the model.
func (g *rig) compare(tb *table) {
	a := &auditor{testingTB: g.t, g: g}
	want := audit.Query(a, g.db.SuperURL, tb.wanted())
	hot, cold := audit.Hot(a, g.db.SuperURL, "app", tb.name, ""), audit.Cold(a, g.db.SuperURL, "app", tb.name)
	lost, extra := hot.Add(cold).Differ(want)
	g.count("losses", int64(len(lost)))
	g.count("doubles", int64(len(extra)))
	g.count("rows judged", int64(want.Count()))
	if len(lost)+len(extra) > 0 {
		g.fail("%s: %d rows lost, the first %.200q; %d doubled or foreign, the first %.200q; %d hot, %d cold, %d wanted", tb, len(lost), first(lost),
			len(extra), first(extra), hot.Count(), cold.Count(), want.Count())
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

const unexplained = "error class that nothing explains"

// What must not be there once every job has ended. Each query lists it.
var leftovers = map[string]string{
	"open transaction of ours": `SELECT application_name || ' ' || state || ' ' || left(query, 100) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name LIKE 'spillway%' AND state LIKE 'idle in transaction%'`,
	"lock of ours on a table": `SELECT l.mode || ' on ' || l.relation::regclass || ' by ' || a.application_name || ' ' || a.state FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE a.datname = current_database() AND a.application_name LIKE 'spillway%' AND l.relation::regclass::text LIKE 'app.%'`,
	"advisory lock of a job": `SELECT l.classid || ' ' || l.objid || ' by ' || a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE a.datname = current_database() AND l.locktype = 'advisory' AND a.application_name LIKE 'spillway:%'`,
	"attempt that nobody settled": `SELECT attempt_id || ' of ' || job_id || ' chunk ' || chunk FROM spillway.attempts WHERE condemned_at IS NULL`,
	"claim of a job that ended":   `SELECT c.job_id FROM spillway.claims c`,
	"job without an end":          `SELECT DISTINCT job_id FROM spillway.plans p WHERE NOT EXISTS (SELECT FROM spillway.job_history h WHERE h.job_id = p.job_id)`,
	"damaged or missing segment":  `SELECT kind || ' ' || location || ' ' || problem FROM spillway.findings WHERE kind IN ('damaged', 'missing')`,
	unexplained: `SELECT job_id || ' ' || error_class || ' ' || left(error, 200) FROM spillway.job_history
		WHERE error_class IN ('internal', 'damaged', 'conflict', 'unknown')`,
	"lasting lock wait": `SELECT application_name || ' ' || left(query, 100) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND now() - query_start > interval '5 s'`,
}

func (g *rig) leftovers() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, g.db.SuperURL)
	must(g.t, err)
	defer conn.Close(context.Background())
	for what, query := range leftovers {
		var found []string
		gone := await.Within(5*time.Second, func() bool { // what was just closed may need a moment to disappear
			rows, err := conn.Query(ctx, query)
			must(g.t, err)
			found, err = pgx.CollectRows(rows, pgx.RowTo[string])
			must(g.t, err)
			return len(found) == 0
		})
		if !gone {
			g.fail("%d times: %s: %s", len(found), what, strings.Join(found[:min(3, len(found))], " | "))
			if what == unexplained {
				g.story(conn, strings.Fields(found[0])[0])
			}
		}
	}
}

// Growth beyond this from one round to the next, some rounds in a row, is a leak.
const (
	slackFiles      = 6
	slackGoroutines = 15
	growingRounds   = 4
	// keptQueues is how long Temporal keeps the queues of a worker that is gone, each with goroutines of its own: matching.maxTaskQueueIdleTime
	// is 5 minutes. Only what grows for longer grows.
	keptQueues = 6 * time.Minute
)

// growth counts the rounds in a row in which a process grew.
type growth struct {
	last              vitals
	files, goroutines int
}

// leaks compares processes that have lived since the round before.
func (g *rig) leaks() {
	for _, u := range append([]*unit{g.temporal, g.door}, g.workers...) {
		now, ok := u.vitals()
		before := g.known[u.name]
		after := growth{last: now}
		if ok && before.last.pid == now.pid {
			if now.fds > before.last.fds+slackFiles {
				after.files = before.files + 1
			}
			if now.goroutines > before.last.goroutines+slackGoroutines {
				after.goroutines = before.goroutines + 1
			}
		}
		g.known[u.name] = after
		rounds := growingRounds
		if u == g.temporal {
			rounds += int(keptQueues / *roundLen)
		}
		if after.files >= growingRounds || after.goroutines >= rounds {
			g.fail("%s grows: %d descriptors and %d goroutines, %d and %d a round before", u.name, now.fds, now.goroutines, before.last.fds, before.last.goroutines)
			g.t.Logf("%s holds: %s", u.name, u.holds())
		}
	}
}

// moved reads from the ledger how much was moved so far.
func (g *rig) moved() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, g.db.SuperURL)
	must(g.t, err)
	defer conn.Close(context.Background())
	rows, err := conn.Query(ctx, `SELECT CASE WHEN job_id LIKE 'restore:%' THEN 'rows restored' ELSE 'rows moved' END, sum(row_count)::bigint FROM spillway.chunks GROUP BY 1
		UNION ALL SELECT 'jobs ' || status, count(*) FROM spillway.job_history GROUP BY 1
		UNION ALL SELECT 'failures of class ' || class, count(*) FROM spillway.failures GROUP BY 1
		UNION ALL SELECT 'jobs failed as ' || error_class, count(*) FROM spillway.job_history WHERE status = 'failed' GROUP BY 1`)
	must(g.t, err)
	var name string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error {
		g.set(name, n)
		return nil
	})
	must(g.t, err)
}

// forget keeps app.acks short: all that was acknowledged becomes one row.
func (g *rig) forget() {
	for _, tb := range g.tables {
		g.db.Super(g.t, fmt.Sprintf("WITH old AS (DELETE FROM app.acks WHERE tbl = %d RETURNING delta) INSERT INTO app.acks SELECT -%d, %d, coalesce(sum(delta), 0), '{}' FROM old", tb.number, tb.number, tb.number))
	}
}

type testingTB = testing.TB
