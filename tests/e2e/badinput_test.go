package e2e

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/product"
)

// Bad input as processes see it; docs/errors.md lists all, and the tests of the commands run each.
func TestStartsThatFail(t *testing.T) {
	t.Parallel()
	u := shared(t)
	front := strings.TrimPrefix(u.info.SQLURL, "postgres://")
	front = front[:strings.Index(front, "/")]
	fresh, clone := pgtest.Database(t), pgtest.Database(t)
	grantTo(t, fresh)
	grantTo(t, clone)
	unprepared := pgtest.Database(t)
	unprepared.Super(t, "REVOKE CREATE ON DATABASE "+unprepared.Name+" FROM "+unprepared.Worker)
	for _, c := range []struct {
		name       string
		args       []string // of up, before the free ports
		code       int
		says, hint string
	}{
		{"two on one data directory", []string{"--data-dir", u.dir, "--database-url", fresh.WorkerURL}, 1, "another spillway", "--data-dir"},
		{"port taken", []string{"--sql-listen", front, "--database-url", fresh.WorkerURL}, 1, "address already in use", "--sql-listen"},
		{"no address", []string{"--database-url", "postgres://x@127.0.0.1:1/x"}, 3, "127.0.0.1:1", "PostgreSQL runs"},
		{"wrong url", []string{"--database-url", "the database"}, 2, "database URL", "postgres://"},
		{"wrong password", []string{"--database-url", withUser(t, fresh.WorkerURL, fresh.Worker, "wrong")}, 3, "password authentication failed", "password"},
		{"no grants", []string{"--database-url", unprepared.WorkerURL}, 1, "may not create the schema", "spillway grants"},
		{"Temporal away", []string{"--database-url", fresh.WorkerURL, "--temporal-address", "127.0.0.1:1"}, 3, "Temporal at 127.0.0.1:1", "--temporal-address"},
		{"foreign storage", []string{"--database-url", clone.WorkerURL, "--storage", u.storage}, 1, "belongs to another database", "--storage"},
		{"wrong flag", []string{"--fast"}, 2, "unknown flag", "--help"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"up", "--temporal-listen", "127.0.0.1:0", "--ui-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"}, c.args...)
			if !strings.Contains(strings.Join(c.args, " "), "--sql-listen") {
				args = append(args, "--sql-listen", "127.0.0.1:0")
			}
			r := product.Run(t, binary, nil, args...)
			message, hint, _ := strings.Cut(r.Err, "\nhint: ")
			lines := strings.Split(message, "\n")
			if r.Code != c.code || r.Out != "" || !strings.Contains(message, "spillway: ") || !strings.Contains(lines[len(lines)-1], c.says) || !strings.Contains(hint, c.hint) {
				t.Errorf("exit code %d, want %d\n%s%s", r.Code, c.code, r.Out, r.Err)
			}
			if strings.Contains(r.Err, "wrong@") || strings.Contains(r.Err, ":wrong") {
				t.Errorf("the password is shown:\n%s", r.Err)
			}
		})
	}
	if !u.Running() || u.readyz() != 200 {
		t.Error("the shared process suffered")
	}
}

// A disk that is read-only or full when a process starts.
func TestStartOnBadDisk(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	grantTo(t, db)
	disk := tmpfs(t, "64k")
	must(t, syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	args := append([]string{"up", "--data-dir", folder(t), "--database-url", db.WorkerURL, "--storage", filepath.Join(disk, "segments")}, freePorts...)
	if r := product.Run(t, binary, nil, args...); r.Code != 1 || !strings.Contains(r.Err, "read-only file system") || !strings.Contains(r.Err, "hint: let this user write") {
		t.Errorf("read-only: exit code %d\n%s", r.Code, r.Err)
	}
	must(t, syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=64k"))
	fill(t, disk)
	if r := product.Run(t, binary, nil, args...); r.Code != 1 || !strings.Contains(r.Err, "no space left on device") || !strings.Contains(r.Err, "hint: free some space") {
		t.Errorf("full: exit code %d\n%s", r.Code, r.Err)
	}
}
