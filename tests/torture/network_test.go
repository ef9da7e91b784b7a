package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/netfault"
	"github.com/spillwaydb/spillway/tests/product"
)

const rowsOfCase = 2500 // about 190 bytes each: some eight chunks

// lane is a table whose rows are all written down beside it, and a session that flushes and restores it.
type lane struct {
	*rig
	conn   *pgx.Conn // through the front-end
	direct *pgx.Conn
	next   int
}

func newLane(t testing.TB, o options) *lane {
	l := &lane{rig: newRig(t, o), next: 1}
	l.db.Exec(t, "CREATE TABLE app.wired (id bigint PRIMARY KEY, note text)", "CREATE TABLE app.written (id bigint, note text)")
	l.grant("app.wired")
	l.connectFront()
	return l
}

func (l *lane) connectFront() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	l.conn, err = pgx.Connect(ctx, l.front(l.db.SuperURL))
	must(l.t, err)
}

// fill adds rows.
func (l *lane) fill() {
	l.t.Helper()
	l.db.Exec(l.t, fmt.Sprintf(`WITH new AS (INSERT INTO app.wired SELECT i, repeat(md5(i::text), 5) FROM generate_series(%d, %d) i RETURNING id, note)
		INSERT INTO app.written SELECT id, note FROM new`, l.next, l.next+rowsOfCase-1))
	l.next += rowsOfCase
}

// start starts a job and returns its id.
func (l *lane) start(statement string) (id string) {
	l.t.Helper()
	rows, err := l.conn.Query(context.Background(), statement)
	must(l.t, err)
	got, err := pgx.CollectRows(rows, pgx.RowToMap)
	must(l.t, err)
	return got[0]["job_id"].(string)
}

// ends waits for the end of a job and wants that status.
func (l *lane) ends(id, status string) {
	l.t.Helper()
	got := ""
	await.Within(patience, func() bool {
		got = l.ended(id)
		return got != ""
	})
	if got != status {
		l.t.Errorf("%s ended as %q, want %s", id, got, status)
	}
}

// ended is the status with which a job ended; "" if it has not, or if nobody can be asked.
func (l *lane) ended(id string) (status string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if l.direct == nil || l.direct.IsClosed() {
		var err error
		if l.direct, err = pgx.Connect(ctx, l.db.SuperURL); err != nil {
			l.direct = nil
			return ""
		}
	}
	_ = l.direct.QueryRow(ctx, "SELECT status FROM spillway.job_history WHERE job_id = $1", id).Scan(&status) // no row yet
	return status
}

// under waits until a job has committed a chunk, so that a fault falls in its middle.
func (l *lane) under(id string) {
	l.t.Helper()
	conn, err := pgx.Connect(context.Background(), l.db.SuperURL)
	must(l.t, err)
	defer conn.Close(context.Background())
	l.await("a chunk has committed", func() bool {
		n := 0
		must(l.t, conn.QueryRow(context.Background(), "SELECT count(*) FROM spillway.chunks WHERE job_id = $1", id).Scan(&n))
		return n > 0
	})
}

// verdict audits the table and the storage, and returns how many rows are lost and doubled.
func (l *lane) verdict() (lost, doubled int) {
	l.t.Helper()
	o := &operator{g: l.rig}
	defer o.close()
	if !await.Within(patience, func() bool { return o.say("CLEANUP", "CLEANUP WITH (wait = true)") }) {
		l.t.Error("CLEANUP does not succeed")
	}
	want := audit.Hot(l.t, l.db.SuperURL, "app", "written", "")
	got := audit.Hot(l.t, l.db.SuperURL, "app", "wired", "").Add(audit.Cold(l.t, l.db.SuperURL, "app", "wired"))
	gone, extra := got.Differ(want)
	if len(gone)+len(extra) > 0 {
		l.t.Errorf("%d rows lost, %d doubled", len(gone), len(extra))
	}
	audit.Storage(l.t, l.db.SuperURL, l.storage)
	l.leftovers()
	return len(gone), len(extra)
}

// outcome is what a case came to, for the results.
type outcome struct {
	Case, Injected string
	Moved          int64
	Losses         int
	Doubles        int
	Seconds        float64
}

// wire is a case of TestNetwork: a fault on a link.
type wire struct {
	link, what string
	long       bool // only of the long form
	during     func(l *lane, p *netfault.Proxy)
}

func wires() (list []wire) {
	for _, link := range []string{"postgres", "temporal", "s3"} {
		for _, w := range []wire{
			{what: "all connections cut, three times", during: func(l *lane, p *netfault.Proxy) {
				for range 3 {
					p.Cut()
					pause(nil, 300*time.Millisecond)
				}
			}},
			{what: "half-closed", long: true, during: func(_ *lane, p *netfault.Proxy) { p.HalfClose() }},
			{what: "15 ms late, 200 kB/s", long: true, during: func(_ *lane, p *netfault.Proxy) {
				p.Set(netfault.Mode{Delay: 15 * time.Millisecond, Rate: 200_000})
				pause(nil, 3*time.Second)
			}},
			{what: "silent for 6 s, then alive", long: true, during: func(_ *lane, p *netfault.Proxy) {
				p.Set(netfault.Mode{Blackhole: true})
				pause(nil, 6*time.Second)
			}},
			{what: "silent for 3 s, then cut", long: true, during: func(_ *lane, p *netfault.Proxy) {
				p.Set(netfault.Mode{Blackhole: true})
				pause(nil, 3*time.Second)
				p.Cut()
			}},
			{what: "refused for 3 s", long: true, during: func(_ *lane, p *netfault.Proxy) {
				p.Set(netfault.Mode{Refuse: true})
				p.Cut()
				pause(nil, 3*time.Second)
			}},
		} {
			w.link = link
			list = append(list, w)
		}
	}
	return list
}

// A31, A36, A57: a fault on each link between processes in the middle of a flush, and of a restore; and each way in which the
// answer to a COMMIT can be lost. The job ends well, under its own id, and each row is there once. SPILLWAY_LONG=1 plays all.
func TestNetwork(t *testing.T) {
	_, err := cloudtest.Tool("versitygw")
	if err != nil {
		t.Logf("links to a bucket are left out: versitygw is missing, `make servers` builds it: %v", err)
	}
	l := newLane(t, options{seed: 3, s3: err == nil, workers: 1})
	play := func(link, what string, fault func(l *lane)) {
		t.Run(strings.ReplaceAll(link+" "+what, " ", "_"), func(t *testing.T) {
			l.t = t // what goes wrong from here on is this case's
			began := time.Now()
			before := l.rowsMoved()
			l.fill()
			fault(l)
			lost, doubled := l.verdict()
			keep(t, "network", []outcome{{link, what, l.rowsMoved() - before, lost, doubled, time.Since(began).Seconds()}})
		})
	}
	faults := netfault.Faults
	if !product.Long() {
		faults = faults[:2]
	}
	for _, f := range faults {
		play("postgres", f.String(), func(l *lane) { l.loseEach(f) })
	}
	for _, w := range wires() {
		p := map[string]*netfault.Proxy{"postgres": l.pg, "temporal": l.rpc, "s3": l.s3}[w.link]
		if p == nil || w.long && !product.Long() {
			continue
		}
		play(w.link, w.what, func(l *lane) {
			for _, statement := range []string{flushIt, restoreIt} {
				id := l.start(statement)
				l.under(id)
				w.during(l, p)
				p.Set(netfault.Mode{})
				l.ends(id, "completed")
			}
		})
	}
	l.t = t
}

const (
	flushIt   = "FLUSH TABLE app.wired WITH (chunk_bytes = '64kB', parallelism = 2)"
	restoreIt = "RESTORE TABLE app.wired WITH (parallelism = 2) WHERE id % 2 = 0"
)

// loseEach loses COMMITs of a flush and of a restore, some of them in a row.
func (l *lane) loseEach(f netfault.CommitFault) {
	for _, statement := range []string{flushIt, restoreIt} {
		before := l.pg.Lost()
		l.pg.LoseCommits(f, 3)
		id := l.start(statement)
		cut := before
		l.await("three COMMITs have met the fault", func() bool {
			if lost := l.pg.Lost(); lost > cut && f == netfault.Swallow { // once for each, or no other would come that far
				cut = lost
				pause(nil, 500*time.Millisecond)
				l.pg.Cut() // else the answer is waited for, for a minute
			}
			return l.pg.Lost() >= before+3
		})
		if f == netfault.Swallow {
			pause(nil, 500*time.Millisecond)
			l.pg.Cut()
		}
		l.ends(id, "completed")
	}
}

func (l *lane) rowsMoved() int64 {
	return pgtest.Value[int64](l.t, l.db, "SELECT coalesce(sum(row_count), 0)::bigint FROM spillway.chunks")
}

// keep appends outcomes to the file of results.
func keep(t *testing.T, kind string, list []outcome) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"kind": kind, "at": time.Now().UTC().Format(time.RFC3339), "cases": list, "failed": t.Failed()})
	must(t, err)
	t.Logf("%s", strings.ReplaceAll(string(text), "},{", "},\n{"))
	if *results == "" {
		return
	}
	f, err := os.OpenFile(*results, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(t, err)
	_, err = f.Write(append(text, '\n'))
	must(t, err)
	must(t, f.Close())
}
