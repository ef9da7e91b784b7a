package torture

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// replication makes commits wait for standbys of these names; "" lets them go.
func (l *lane) replication(names string) {
	l.t.Helper()
	l.db.Super(l.t, "ALTER SYSTEM SET synchronous_standby_names = "+literal(names), "SELECT pg_reload_conf()")
}

// hangs makes commits wait for a standby that there is not, and returns when a COMMIT of a chunk does. If the first to wait is the
// attempt's first row, all may go on and is caught again.
func (l *lane) hangs() {
	l.t.Helper()
	conn := l.db.Connect(l.t, l.db.SuperURL)
	defer conn.Close(context.Background())
	var since time.Time
	l.await("a COMMIT hangs", func() bool {
		if since.IsZero() {
			l.replication("nobody")
			since = time.Now()
		}
		commits, others := 0, 0
		must(l.t, conn.QueryRow(context.Background(), `SELECT count(*) FILTER (WHERE upper(query) LIKE 'COMMIT%')::int, count(*)::int FROM pg_stat_activity
			WHERE application_name LIKE 'spillway:%' AND wait_event = 'SyncRep'`).Scan(&commits, &others))
		if commits == 0 && others > 0 && time.Since(since) > 300*time.Millisecond {
			l.replication("")
			since = time.Time{}
		}
		return commits > 0
	})
}

// A57: COMMIT hangs in synchronous replication, end to end: while the worker's sockets are cut, while it is killed and started
// again, while its process is frozen, and while its job is killed.
func TestCommitWaitsForStandby(t *testing.T) {
	l := newLane(t, options{seed: 5, workers: 1})
	var done []outcome
	for _, c := range []struct {
		what   string
		during func(id string)
		status string
	}{
		{"sockets cut", func(string) { l.pg.Cut() }, "completed"},
		{"worker killed and started again", func(string) { l.kill("worker", l.workers[0]) }, "completed"},
		{"worker frozen beyond its heartbeats", func(string) { l.freeze(l.workers[0], 4*time.Second, nil) }, "completed"},
		{"KILL JOB", func(id string) { l.killed(id) }, "cancelled"},
	} {
		t.Run(c.what, func(t *testing.T) {
			l.t = t
			began, before := time.Now(), l.rowsMoved()
			l.fill()
			l.fill() // long enough to be caught
			id := l.start(flushIt)
			l.under(id)
			defer l.replication("")
			l.hangs()
			c.during(id)
			pause(nil, 3*time.Second) // the successor, if there is one, meets a server that still waits
			l.replication("")
			l.ends(id, c.status)
			lost, doubled := l.verdict()
			done = append(done, outcome{"COMMIT waits for a standby", c.what, l.rowsMoved() - before, lost, doubled, time.Since(began).Seconds()})
		})
	}
	l.t = t
	keep(t, "replication", done)
}

// killed sends KILL JOB and does not wait for the answer: the front-end's own commits wait for the standby too.
func (l *lane) killed(id string) {
	go func() {
		o := &operator{g: l.rig}
		defer o.close()
		o.say("KILL", "KILL JOB "+literal(id))
	}()
}

// standby makes a hot standby of the rig's PostgreSQL by pg_basebackup.
func (l *lane) standby() *embedpg.Server {
	l.t.Helper()
	dir := folder(l.t)
	from, err := os.Stat(filepath.Join(l.srv.DataDir(), "pgdata"))
	must(l.t, err)
	owner := from.Sys().(*syscall.Stat_t)
	must(l.t, os.Chown(dir, int(owner.Uid), int(owner.Gid)))
	cmd := exec.Command(filepath.Join(l.srv.Binaries().Dir, "pg_basebackup"), "-d", l.srv.SuperURL("postgres"), "-D", filepath.Join(dir, "pgdata"), "-R", "-X", "stream", "-c", "fast")
	cmd.Dir = dir
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.t.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	u, err := url.Parse(l.srv.SuperURL("postgres"))
	must(l.t, err)
	password, _ := u.User.Password()
	must(l.t, os.WriteFile(filepath.Join(dir, "password"), []byte(password+"\n"), 0o600))
	must(l.t, os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600)) // a folder with a server in it has one
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	srv, err := embedpg.Start(ctx, &embedpg.Options{DataDir: dir})
	must(l.t, err)
	l.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Stop(ctx); err != nil {
			l.t.Errorf("stop the standby: %v", err)
		}
	})
	return srv
}

// A35, A57: the primary crashes in the middle of a flush, its synchronous standby is promoted, and everybody is led there. What was
// acknowledged is there, the job goes on, and each row is there once.
func TestFailoverToStandby(t *testing.T) {
	l := newLane(t, options{seed: 7, workers: 1})
	l.fill()
	second := l.standby()
	l.replication("*")
	l.await("the standby is in step", func() bool {
		return pgtest.Value[int](t, l.db, "SELECT count(*)::int FROM pg_stat_replication WHERE sync_state = 'sync'") == 1
	})
	id := l.start(flushIt)
	l.under(id)
	must(t, l.srv.Kill())
	began := time.Now()
	for _, address := range []*string{&l.db.SuperURL, &l.db.OwnerURL, &l.db.WorkerURL} {
		u, err := url.Parse(*address)
		must(t, err)
		u.Host = second.Address()
		*address = u.String()
	}
	l.db.Super(t, "SELECT pg_promote(true, 60)")
	l.pg.Redirect(second.Address())
	l.pgDoor.Redirect(second.Address())
	l.ends(id, "completed")
	lost, doubled := l.verdict()
	moved := l.rowsMoved()
	if hot := pgtest.Value[int](t, l.db, "SELECT count(*)::int FROM app.wired"); hot != 0 || moved != rowsOfCase {
		t.Errorf("%d rows are hot, %d were moved", hot, moved)
	}
	t.Logf("the job ended %v after the crash of the primary", time.Since(began))
	keep(t, "failover", []outcome{{"failover to a standby", "primary stopped at once in mid-flush, standby promoted", moved, lost, doubled, time.Since(began).Seconds()}})
}
