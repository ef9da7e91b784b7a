package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
)

// A31, A32: a full disk is tried again with back-off, --attempts times; then the job has failed, and says why. Once there is
// room, a new flush moves the rest.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := tmpfs(t, "512k")
	u := ownUp(t, "--storage", disk, "--attempts", "3")
	u.storage = disk
	tb := u.table(t, "too_much", 0)
	// Text that does not compress: about 1 MB of segments.
	u.db.Exec(t, `INSERT INTO app.too_much SELECT i, 1, (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 8) j), NULL, NULL
		FROM generate_series(1, 8000) i`)
	tb.want = audit.Hot(t, u.db.SuperURL, "app", "too_much", "")
	s := u.owner(t)
	a := s.flush(tb, "WITH ("+small+", parallelism = 1)")
	j := s.wait(a.id, "failed")
	if text(j.Class) != "storage_full" || !strings.Contains(text(j.Error), "no space left") || j.Attempt != 3 {
		t.Errorf("attempt %d, class %s, error %s", j.Attempt, text(j.Class), text(j.Error))
	}
	if j.Rows == 0 || j.Rows+tb.hot() != 8000 {
		t.Errorf("%d rows flushed, %d hot", j.Rows, tb.hot())
	}
	tries(t, u, a.id, 3)
	if stray := len(tb.objects()) - len(tb.segments()); stray != 0 {
		t.Errorf("%d stray objects: %v", stray, tb.objects())
	}
	before := tb.segments()

	must(t, syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=64m"))
	again := s.wait(s.flush(tb, "WITH ("+small+")").id, "completed")
	if again.Rows != 8000-j.Rows || tb.hot() != 0 {
		t.Errorf("after the repair: %+v, %d rows hot", again, tb.hot())
	}
	for _, g := range before {
		if !slices.Contains(tb.segments(), g) {
			t.Errorf("segment %+v is gone", g)
		}
	}
	u.Terminate()
}

// tries checks that a job's chunk failed so many times, each time later by a back-off that grows.
func tries(t *testing.T, u *up, id string, n int) {
	t.Helper()
	var at []time.Time
	conn := u.db.Connect(t, u.db.SuperURL)
	must(t, conn.QueryRow(t.Context(), "SELECT array_agg(at ORDER BY at) FROM spillway.failures WHERE job_id = $1", id).Scan(&at))
	if len(at) != n {
		t.Fatalf("%d failures, want %d", len(at), n)
	}
	backoff := time.Second
	for i := 1; i < n; i++ {
		if wait := at[i].Sub(at[i-1]); wait < backoff {
			t.Errorf("try %d came %s after the one before, want %s at least", i+1, wait, backoff)
		}
		backoff *= 2
	}
}

// tmpfs mounts a small disk. That takes root, which CI and containers have, and laptops do not: storages that break in other
// ways are tested everywhere.
func tmpfs(t testing.TB, size string) string {
	t.Helper()
	dir := folder(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=755"); err != nil {
		t.Skipf("mounting a small disk is not allowed here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// A31: a storage that breaks in the middle, and is mended: a file lies where the table's folder should be.
func TestBrokenStorage(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--attempts", "2")
	tb := u.table(t, "blocked", 1000)
	must(t, os.MkdirAll(filepath.Dir(tb.dir()), 0o755))
	must(t, os.WriteFile(tb.dir(), nil, 0o644))
	s := u.owner(t)
	a := s.flush(tb, "WITH ("+small+")")
	j := s.wait(a.id, "failed")
	if text(j.Class) != "storage" || !strings.Contains(text(j.Error), tb.dir()) || j.Rows != 0 || j.Segments != 0 || tb.hot() != 1000 {
		t.Errorf("%+v: class %s, error %s, %d rows hot", j, text(j.Class), text(j.Error), tb.hot())
	}
	must(t, os.Remove(tb.dir()))
	if again := s.wait(s.flush(tb, "WITH ("+small+")").id, "completed"); again.Rows != 1000 {
		t.Errorf("after the repair: %+v", again)
	}
	u.Terminate()
}

// A31: the storage is away for a while, shorter than the attempts last: the job goes on by itself.
func TestStorageComesBack(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	tb := u.table(t, "came_back", 1000)
	must(t, os.MkdirAll(filepath.Dir(tb.dir()), 0o755))
	must(t, os.WriteFile(tb.dir(), nil, 0o644))
	s := u.owner(t)
	a := s.flush(tb, "WITH ("+small+")")
	await.Until(t, "a try has failed", func() bool {
		return pgtest.Value[int](t, u.db, "SELECT count(*) FROM spillway.failures WHERE job_id = $1", a.id) > 0
	})
	must(t, os.Remove(tb.dir()))
	if j := s.wait(a.id, "completed"); j.Rows != 1000 || j.Attempt < 2 || j.Error != nil {
		t.Errorf("%+v, error %s", j, text(j.Error))
	}
	u.Terminate()
}

// A53: SHOW COLD TABLE and `spillway cat` give the cold rows of exactly the registered segments, whatever else lies about.
func TestColdRowsComeBack(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "cold", 1000)
	u.db.Exec(t, "UPDATE app.cold SET note = E'comma, \"quote\", new\nline \\\\ and 日本' WHERE id = 7", "UPDATE app.cold SET note = '' WHERE id = 8")
	tb.want = audit.Hot(t, u.db.SuperURL, "app", "cold", "")
	want := map[string]string{} // rows as JSON, by id
	conn := u.db.Connect(t, u.db.SuperURL)
	rows, err := conn.Query(t.Context(), `SET TimeZone = 'UTC'`)
	must(t, err)
	rows.Close()
	rows, err = conn.Query(t.Context(), `SELECT id::text, json_build_array(id::text, tenant::text, note, amount::text, at::text)::text FROM app.cold`)
	must(t, err)
	for rows.Next() {
		var id, line string
		must(t, rows.Scan(&id, &line))
		want[id] = line
	}
	must(t, rows.Err())

	s := u.owner(t)
	if cold := s.rows("SHOW COLD TABLE app.cold"); len(cold) != 0 {
		t.Errorf("before the first flush: %v", cold)
	}
	s.wait(s.flush(tb, "WITH ("+small+") WHERE id <= 600").id, "completed")
	s.wait(s.flush(tb, "WITH ("+small+") WHERE id <= 900").id, "completed")
	segments := tb.segments()
	// A copy that nobody registered must not count.
	stray := filepath.Join(tb.dir(), "stray.parquet")
	data, err := os.ReadFile(strings.TrimPrefix(segments[0].Location, "file://"))
	must(t, err)
	must(t, os.WriteFile(stray, data, 0o644))

	shown, sum := s.rows("SHOW COLD TABLE app.cold"), int64(0)
	for i, r := range shown {
		n, _ := r["row_count"].(int64)
		sum += n
		if !slices.ContainsFunc(segments, func(g segmentRow) bool { return g.Location == r["location"] }) {
			t.Errorf("shown, but not registered: %v", r["location"])
		}
		call, _ := r["read_parquet"].(string)
		if i == 0 && (strings.Count(call, ".parquet'") != len(segments) || strings.Contains(call, "stray")) {
			t.Errorf("read_parquet call: %s", call)
		}
	}
	if len(shown) != len(segments) || sum != 900 {
		t.Errorf("%d segments with %d rows are shown, %d are registered", len(shown), sum, len(segments))
	}

	got := catJSON(t, u, "app.cold")
	if len(got) != 900 {
		t.Errorf("cat gives %d rows", len(got))
	}
	for id, line := range got {
		if line != want[id] {
			t.Errorf("row %s: cat gives %s, it was %s", id, line, want[id])
		}
	}
	must(t, os.Remove(stray))
}

// catJSON reads a table's cold rows with `spillway cat`, as JSON arrays of texts by id.
func catJSON(t *testing.T, u *up, table string) map[string]string {
	t.Helper()
	out := product.MustRun(t, binary, nil, "cat", table, "-o", "json", "--sql-url", u.through(u.db.OwnerURL))
	got := map[string]string{}
	for line := range strings.Lines(out) {
		row := map[string]any{}
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		must(t, d.Decode(&row))
		parts := make([]string, 5)
		for i, c := range []string{"id", "tenant", "note", "amount", "at"} {
			parts[i] = "null"
			switch v := row[c].(type) {
			case json.Number:
				parts[i] = `"` + v.String() + `"`
			case string:
				quoted := &strings.Builder{}
				e := json.NewEncoder(quoted)
				e.SetEscapeHTML(false)
				must(t, e.Encode(v))
				parts[i] = strings.TrimSpace(quoted.String())
			}
		}
		id := strings.Trim(parts[0], `"`)
		if _, twice := got[id]; twice {
			t.Errorf("row %s comes twice", id)
		}
		got[id] = "[" + strings.Join(parts, ", ") + "]"
	}
	return got
}

// fill writes to a small disk until it is full.
func fill(t testing.TB, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	must(t, err)
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	must(t, f.Close())
}
