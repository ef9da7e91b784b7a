package command

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/embedpg"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// documented is one row of docs/errors.md.
type documented struct {
	exit          int
	message, hint string
}

// documentedErrors reads the rows by their first column.
func documentedErrors(t *testing.T) map[string]documented {
	t.Helper()
	text, err := os.ReadFile("../../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]documented{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \| (\d+) \| ([^|]+) \|([^|]*)\|$`).FindAllStringSubmatch(string(text), -1) {
		exit, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := rows[m[1]]; twice {
			t.Errorf("%q has two rows", m[1])
		}
		rows[m[1]] = documented{exit, strings.ReplaceAll(m[3], "&lt;", "<"), strings.TrimSpace(m[4])}
	}
	return rows
}

// matches reports whether text is pattern, in which … stands for anything.
func matches(pattern, text string) bool {
	parts := strings.Split(pattern, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("(?s)^" + strings.Join(parts, ".*") + "$").MatchString(text)
}

// errorCase makes an error happen and returns what the command line said.
type errorCase func(t *testing.T) result

// Every row of docs/errors.md, made to happen; and every case that is made to happen has its row.
func TestDocumentedErrors(t *testing.T) {
	t.Parallel()
	rows := documentedErrors(t)
	cases := map[string]errorCase{}
	for _, set := range []map[string]errorCase{startErrors(), storeErrors(), clusterErrors(t), askErrors(t), jobErrors(), uninstallErrors()} {
		for name, c := range set {
			cases[name] = c
		}
	}
	for name := range rows {
		if cases[name] == nil {
			t.Errorf("no test for the row %q", name)
		}
	}
	for name, run := range cases {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			want, ok := rows[name]
			if !ok {
				t.Fatal("no row in docs/errors.md")
			}
			r := run(t)
			if r.code != want.exit {
				t.Errorf("exit code %d, documented %d", r.code, want.exit)
			}
			first, rest, _ := strings.Cut(r.errOut, "\n")
			message, ok := strings.CutPrefix(first, "spillway: ")
			if !ok || !matches(want.message, message) {
				t.Errorf("message\n%s\ndocumented\n%s", message, want.message)
			}
			_, hint, _ := strings.Cut("\n"+rest, "\nhint: ")
			if hint = strings.TrimSuffix(hint, "\n"); !matches(want.hint, hint) {
				t.Errorf("hint\n%s\ndocumented\n%s", hint, want.hint)
			}
			if strings.Contains(r.errOut, "goroutine ") || strings.Contains(r.errOut, "Usage:") {
				t.Errorf("a dump:\n%s", r.errOut)
			}
		})
	}
}

// upOnce runs `spillway up`, which must fail to start. One that starts is stopped in the end, and its exit code tells.
func upOnce(t *testing.T, flags ...string) result {
	t.Helper()
	return upOnceWith(t, nil, flags...)
}

// upOnceWith is upOnce with environment variables.
func upOnceWith(t *testing.T, environ []string, flags ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r := invokeWith(ctx, "", append(append([]string{"up", "--data-dir", t.TempDir()}, anyPorts...), flags...), environ...)
	// What was logged before the error is not the error.
	if i := strings.Index(r.errOut, "spillway: "); i > 0 {
		r.errOut = r.errOut[i:]
	}
	return r
}

func changed(t *testing.T, raw string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}

func startErrors() map[string]errorCase {
	return map[string]errorCase{
		"the database URL cannot be read": func(t *testing.T) result {
			return upOnce(t, "--database-url", "postgres://u:pa%ss@h:5432/d")
		},
		"nobody listens at the database's address": func(t *testing.T) result {
			return upOnce(t, "--database-url", "postgres://u:p@127.0.0.1:1/d?sslmode=disable")
		},
		"wrong password": func(t *testing.T) result {
			return upOnce(t, "--database-url", changed(t, pgtest.Database(t).WorkerURL, func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "wrong") }))
		},
		"no such database": func(t *testing.T) result {
			return upOnce(t, "--database-url", changed(t, pgtest.Database(t).WorkerURL, func(u *url.URL) { u.Path = "/nothing" }))
		},
		"no right to create schemas": func(t *testing.T) result {
			db := pgtest.Database(t)
			db.Super(t, "REVOKE CREATE ON DATABASE "+db.Name+" FROM "+db.Worker)
			return upOnce(t, "--database-url", db.WorkerURL)
		},
		"a schema system that is somebody else's": func(t *testing.T) result {
			db := pgtest.Database(t)
			db.Super(t, "CREATE SCHEMA system", "CREATE TABLE system.theirs (id int)")
			return upOnce(t, "--database-url", db.WorkerURL)
		},
		"the storage cannot be written": func(t *testing.T) result {
			return upOnce(t, "--database-url", pgtest.Database(t).WorkerURL, "--storage", filepath.Join(readOnly(t), "segments"))
		},
		"the storage belongs to another database": func(t *testing.T) result {
			storage := t.TempDir()
			marker := `{"installation_id": "00000000-0000-4000-8000-000000000000", "database_oid": 1}`
			if err := os.WriteFile(filepath.Join(storage, ".spillway-owner.json"), []byte(marker), 0o600); err != nil {
				t.Fatal(err)
			}
			return upOnce(t, "--database-url", pgtest.Database(t).WorkerURL, "--storage", storage)
		},
		"a kind of storage that there is not": func(t *testing.T) result {
			return upOnce(t, "--database-url", pgtest.Database(t).WorkerURL, "--storage", "ftp://host/prefix")
		},
		"a key in the address of a bucket": func(t *testing.T) result {
			return upOnce(t, "--database-url", pgtest.Database(t).WorkerURL, "--storage", "s3://AKIAIOSFODNN7EXAMPLE:secret@bucket/prefix")
		},
		"an unknown option of a bucket": func(t *testing.T) result {
			return upOnce(t, "--database-url", pgtest.Database(t).WorkerURL, "--storage", "s3://bucket/prefix?colour=red")
		},
		"keys of a bucket that are not there": func(t *testing.T) result {
			return upOnce(t, "--database-url", pgtest.Database(t).WorkerURL, "--storage",
				"s3://bucket/prefix?region=eu-central-1&access_key_env=SPILLWAY_STORAGE_NO_KEY&secret_key_env=SPILLWAY_STORAGE_NO_SECRET")
		},
		"another storage than the ledger's": func(t *testing.T) result {
			s := newSite(t, []string{"app.t"}, []string{"CREATE TABLE app.t (id int)"}) // a start that succeeds settles where segments go
			s.stop(t)
			return upOnce(t, "--database-url", s.db.WorkerURL, "--storage", t.TempDir())
		},
		"Temporal does not answer": func(t *testing.T) result {
			return upOnce(t, "--database-url", pgtest.Database(t).WorkerURL, "--temporal-address", "127.0.0.1:1")
		},
		"a second up on one data directory": func(t *testing.T) result {
			dir := t.TempDir()
			lock, err := datadir.Lock(dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = lock.Release() })
			return upOnce(t, "--data-dir", dir)
		},
		"a port above 65535":                func(t *testing.T) result { return upOnce(t, "--sql-listen", "127.0.0.1:70000") },
		"an address without a port":         func(t *testing.T) result { return upOnce(t, "--metrics-listen", "localhost") },
		"the SQL front-end's port is taken": func(t *testing.T) result { return upOnce(t, "--sql-listen", taken(t)) },
		"a certificate without its key":     func(t *testing.T) result { return upOnce(t, "--sql-tls-cert", "x") },
		"a certificate that is not there": func(t *testing.T) result {
			return upOnce(t, "--sql-tls-cert", t.TempDir()+"/none", "--sql-tls-key", t.TempDir()+"/none")
		},
		"Temporal's port is taken": func(t *testing.T) result {
			return upOnce(t, "--database-url", pgtest.Database(t).WorkerURL, "--temporal-listen", taken(t))
		},
		"SPILLWAY_PG_BIN names a folder without PostgreSQL": func(t *testing.T) result {
			// The search for binaries looks at the environment of the process, so this case has a process of its own.
			cmd := exec.Command(os.Args[0], "up", "--data-dir", t.TempDir())
			cmd.Env = append(os.Environ(), asProgram+"=1", embedpg.BinEnv+"="+t.TempDir(), "SPILLWAY_SQL_LISTEN=127.0.0.1:0", "SPILLWAY_METRICS_LISTEN=127.0.0.1:0")
			var errOut strings.Builder
			cmd.Stderr = &errOut
			_ = cmd.Run() // its exit code says more
			return result{code: cmd.ProcessState.ExitCode(), errOut: errOut.String()}
		},
	}
}

// taken returns an address on which somebody listens.
func taken(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

// readOnly returns a folder in which nothing can be made. Modes do not stop root, a read-only mount does.
func readOnly(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	mount(t, dir, syscall.MS_RDONLY, "size=64k")
	return dir
}

// mount mounts a small file system in memory on dir. That takes root, and the right to mount.
func mount(t *testing.T, dir string, flags uintptr, data string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, data); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("a full or read-only disk is a small file system mounted for the test, and this user may not mount any")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// askErrors are what client commands can run into, all against one site.
func askErrors(t *testing.T) map[string]errorCase {
	s := newSite(t, []string{"app.events", "app.ruled"}, []string{
		"CREATE TABLE app.events AS SELECT i AS id FROM generate_series(1, 100) i",
		"CREATE VIEW app.view AS SELECT 1 AS one",
		"CREATE TABLE app.denied AS SELECT 1 AS id",
		"CREATE TABLE app.ruled (at timestamptz)", "CREATE RULE keep AS ON DELETE TO app.ruled DO INSTEAD NOTHING",
	})
	s.db.Super(t, "CREATE SCHEMA theirs", "CREATE TABLE theirs.secrets (id int)", "GRANT USAGE ON SCHEMA theirs TO "+s.db.Owner)
	sql := func(statement string) errorCase {
		return func(t *testing.T) result { return s.spillway(t, "sql", "-c", statement) }
	}
	const unknown = "flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"
	return map[string]errorCase{
		"no spillway runs":                 func(t *testing.T) result { return invoke(t, []string{"jobs", "list", "--data-dir", t.TempDir()}) },
		"`top` where there is no terminal": func(t *testing.T) result { return invoke(t, []string{"top"}) },
		"a flag that was mistyped":         func(t *testing.T) result { return invoke(t, []string{"jobs", "list", "--tabel", "x"}) },
		"spillway was killed": func(t *testing.T) result {
			dir := t.TempDir()
			up := datadir.Up{PID: 1 << 30, SQLURL: "postgres://127.0.0.1:1/x"}
			if err := up.Write(dir); err != nil {
				t.Fatal(err)
			}
			return invoke(t, []string{"jobs", "list", "--data-dir", dir})
		},
		"table does not exist":                          sql("FLUSH TABLE app.nothing"),
		"table without a schema":                        sql("FLUSH TABLE events"),
		"a view":                                        sql("FLUSH TABLE app.view"),
		"a word too much":                               sql("FLUSH TABLE app.events now"),
		"unknown option":                                sql("FLUSH TABLE app.events WITH (speed = 9)"),
		"a predicate with an unknown column":            sql("FLUSH TABLE app.events WHERE nope > 1"),
		"a predicate with a subquery":                   sql("FLUSH TABLE app.events WHERE id IN (SELECT 1)"),
		"somebody else's table":                         sql("FLUSH TABLE theirs.secrets"),
		"FLUSH ALL with no registered table":            sql("FLUSH ALL TABLES IN theirs"),
		"the worker may not delete from the table":      sql("FLUSH TABLE app.denied"),
		"a limit of the lag that the worker cannot see": sql("FLUSH TABLE app.events WITH (max_replication_lag = '1GB')"),
		"a rule on DELETE":                              sql("FLUSH TABLE app.ruled"),
		"an age without a column that tells it":         sql("FLUSH TABLE app.events OLDER THAN '7 days'"),
		"no interval":                                   sql("FLUSH TABLE app.ruled OLDER THAN 'a week or so'"),
		"malformed job id":                              sql("KILL JOB 'nonsense'"),
		"unknown job":                                   sql("KILL JOB '" + unknown + "'"),
		"no cron expression":                            sql("CREATE SCHEDULE nightly FOR FLUSH TABLE app.events CRON '0 25 * * *'"),
		"unknown schedule":                              sql("PAUSE SCHEDULE nightly"),
		"a policy that says not when":                   sql("ALTER TABLE app.events SET FLUSH POLICY (storage = default)"),
		"a policy with months":                          sql("ALTER TABLE app.events SET FLUSH POLICY (interval = '1 month')"),
		"a policy with the time in its condition":       sql("ALTER TABLE app.ruled SET FLUSH POLICY (rows = 1, where = 'at < now()')"),
		"a policy with an unknown storage":              sql("ALTER TABLE app.events SET FLUSH POLICY (rows = 1, storage = nowhere)"),
		"a table without a policy":                      sql("ALTER TABLE app.events RESUME FLUSH POLICY"),
		"a clean-up by somebody who is no operator":     sql("CLEANUP"),
		"finished job":                                  func(t *testing.T) result { return s.spillway(t, "jobs", "kill", s.finished(t)) },
		"pausing a finished job":                        func(t *testing.T) result { return s.spillway(t, "jobs", "pause", s.finished(t)) },
		"the worker may not insert into the table":      sql("RESTORE TABLE app.events"),
		"a restore from an unknown job":                 sql("RESTORE TABLE app.events FROM JOB '" + unknown + "'"),
		"a restore from a job of another table":         sql("RESTORE TABLE app.ruled FROM JOB '" + unknown + "'"),
		"a layout by an unknown column":                 sql("FLUSH TABLE app.events WITH (partition_by = (id, nobody))"),
		"a path with an unknown variable":               sql("FLUSH TABLE app.events WITH (path = '{tabel}')"),
	}
}

// finished flushes app.events and returns the id of the job, which has ended.
func (s *site) finished(t *testing.T) string {
	t.Helper()
	r := s.spillway(t, "flush", "app.events", "--wait", "-o", "json")
	_, rest, ok := strings.Cut(r.out, "flush:app.events:")
	if r.code != 0 || !ok || len(rest) < 36 {
		t.Fatal(r.out, r.errOut)
	}
	return "flush:app.events:" + rest[:36]
}

// jobErrors are ends of jobs.
func jobErrors() map[string]errorCase {
	flushOf := func(table string, flags ...string) errorCase {
		return func(t *testing.T) result {
			s := newSite(t, []string{"app.ok"}, []string{
				"CREATE TABLE app.ok AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 50000) i",
			}, append([]string{"--attempts", "2"}, flags...)...)
			r := s.spillway(t, "flush", table, "--wait")
			if i := strings.Index(r.errOut, "spillway: "); i > 0 { // behind the progress
				r.errOut = r.errOut[i:]
			}
			return r
		}
	}
	return map[string]errorCase{
		"a segment that RESTORE reads is damaged": func(t *testing.T) result {
			s := newSite(t, []string{"app.ok"}, []string{"CREATE TABLE app.ok AS SELECT 1 AS id"})
			s.db.Exec(t, "GRANT INSERT ON app.ok TO "+s.db.Worker)
			if r := s.spillway(t, "flush", "app.ok", "--wait"); r.code != 0 {
				t.Fatal(r.errOut)
			}
			files, err := filepath.Glob(filepath.Join(s.dir, "segments", "app", "ok", "*.parquet"))
			if err != nil || len(files) != 1 || os.Truncate(files[0], 100) != nil {
				t.Fatal(files, err)
			}
			r := s.spillway(t, "restore", "app.ok", "--wait")
			if i := strings.Index(r.errOut, "spillway: "); i > 0 { // behind the progress
				r.errOut = r.errOut[i:]
			}
			return r
		},
		"the storage is full": func(t *testing.T) result {
			if os.Geteuid() != 0 {
				t.Skip("a full disk is a small file system mounted for the test, and only root may mount one")
			}
			dir := t.TempDir()
			mount(t, dir, 0, "size=256k")
			return flushOf("app.ok", "--storage", dir)(t)
		},
		"a segment is damaged": func(t *testing.T) result {
			s := newSite(t, []string{"app.ok"}, []string{"CREATE TABLE app.ok AS SELECT 1 AS id"})
			if r := s.spillway(t, "flush", "app.ok", "--wait"); r.code != 0 {
				t.Fatal(r.errOut)
			}
			files, err := filepath.Glob(filepath.Join(s.dir, "segments", "app", "ok", "*.parquet"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			if err := os.Truncate(files[0], 100); err != nil {
				t.Fatal(err)
			}
			r := s.spillway(t, "verify", "app.ok", "--wait")
			if n := strings.Count(r.errOut, "1 segment read back"); n != 1 {
				t.Errorf("what was found is told %d times:\n%s", n, r.errOut)
			}
			if i := strings.Index(r.errOut, "spillway: "); i > 0 {
				r.errOut = r.errOut[i:]
			}
			mustContain(t, r.out, "damaged", files[0])
			return r
		},
	}
}
