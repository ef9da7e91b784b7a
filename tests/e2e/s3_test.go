package e2e

import (
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
)

// bucket is a bucket on an S3 server of the test, behind a proxy that can break.
type bucket struct {
	*cloudtest.Proxy
	server *cloudtest.Server
	name   string
}

func newBucket(t testing.TB) *bucket {
	t.Helper()
	s := cloudtest.Start(t)
	b := &bucket{Proxy: cloudtest.NewProxy(t, s), server: s, name: s.Bucket(t)}
	audit.Bucket(t, "s3://"+b.name, s.Path(b.name))
	t.Cleanup(func() { b.noUploads(t) })
	return b
}

// noUploads is the audit of uploads that nobody will finish.
func (b *bucket) noUploads(t testing.TB) {
	t.Helper()
	if parts := b.server.Parts(t, b.name); len(parts) != 0 {
		t.Errorf("parts of unfinished uploads: %q", parts)
	}
}

// with renders the options of a storage in the bucket.
func (b *bucket) with(more ...string) string {
	options := cloudtest.Options(b.Endpoint)
	var list []string
	for _, name := range slices.Sorted(maps.Keys(options)) {
		list = append(list, name+" = '"+options[name]+"'")
	}
	return " WITH (" + strings.Join(append(list, more...), ", ") + ")"
}

// flag is the value of --storage for a prefix of the bucket.
func (b *bucket) flag(prefix string) string {
	q := url.Values{}
	for name, value := range cloudtest.Options(b.Endpoint) {
		q.Set(name, value)
	}
	return "s3://" + b.name + "/" + prefix + "?" + q.Encode()
}

// ownUpIn starts an up whose default storage is in a bucket.
func ownUpIn(t testing.TB, b *bucket, args ...string) *up {
	t.Helper()
	u := ownUp(t, append([]string{"--storage", b.flag("cold")}, args...)...)
	u.storage = filepath.Join(b.server.Path(b.name), "cold")
	return u
}

// incompressible makes a table of 12,000 rows with text that does not compress: its segment has more than one part.
func (u *up) incompressible(t testing.TB, name string) *table {
	t.Helper()
	tb := u.table(t, name, 0)
	u.db.Exec(t, `INSERT INTO app.`+name+` SELECT i, 1, (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 60) j), NULL, NULL
		FROM generate_series(1, 12000) i`)
	tb.want = audit.Hot(t, u.db.SuperURL, "app", name, "")
	return tb
}

// A10, A22, A23, A53: the default storage is a bucket: rows go there, the manifest too, and cat reads them back.
func TestS3EndToEnd(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	u := ownUpIn(t, b)
	tb := u.incompressible(t, "s3_cold")
	s := u.owner(t)
	j := s.wait(s.flush(tb, "WITH (chunk_bytes = '1GB', verify = full)").id, "completed")
	if j.Rows != 12000 || tb.hot() != 0 || !strings.HasPrefix(text(j.Location), "s3://"+b.name+"/cold/app/s3_cold") {
		t.Errorf("%+v at %s, %d rows hot", j, text(j.Location), tb.hot())
	}
	if n := b.Seen("CompleteMultipartUpload"); n == 0 {
		t.Error("no segment was uploaded in parts")
	}
	if _, err := os.Stat(filepath.Join(tb.dir(), "manifest.json")); err != nil {
		t.Error(err)
	}
	shown := s.rows("SHOW COLD TABLE app.s3_cold")
	if call := shown[0]["read_parquet"].(string); !strings.HasPrefix(call, "read_parquet(['s3://"+b.name+"/cold/app/") || shown[0]["storage"] != "default" {
		t.Errorf("%v", shown[0])
	}
	got := catCount(t, u, "app.s3_cold")
	if got != 12000 {
		t.Errorf("cat gives %d rows", got)
	}
	if out := product.MustRun(t, binary, nil, "doctor", "--database-url", u.db.WorkerURL); !strings.Contains(out, "s3://"+b.name+"/cold can be written, read and deleted from") {
		t.Errorf("doctor: %s", out)
	}
	u.Terminate()
	if out := u.Err.String(); strings.Contains(out, cloudtest.SecretKey) || strings.Contains(out, cloudtest.AccessKey) {
		t.Error("a key is in the log")
	}
}

// catCount counts a table's cold rows by `spillway cat`, as the superuser, who may see the storages.
func catCount(t *testing.T, u *up, table string) (n int) {
	t.Helper()
	for range strings.Lines(product.MustRun(t, binary, nil, "cat", table, "-o", "json", "--sql-url", u.through(u.db.SuperURL))) {
		n++
	}
	return n
}

// A22, A24: storages are created, used, shown and dropped by SQL; what cannot be is refused, and no key is seen anywhere.
func TestS3Storages(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	u := ownUp(t)
	s, owner := u.super(t), u.owner(t)
	if rows := s.rows("CREATE STORAGE archive LOCATION 's3://" + b.name + "/archive/'" + b.with("path = 'x/{namespace}/{table}'")); rows[0]["storage"] != "archive" || rows[0]["status"] != "created" {
		t.Errorf("%v", rows)
	}
	s.rows("CREATE STORAGE folder LOCATION '" + u.dir + "/second'")

	tb, other := u.table(t, "in_archive", 1000), u.table(t, "in_folder", 1000)
	t.Cleanup(func() { audit.Storage(t, u.db.SuperURL, filepath.Join(b.server.Path(b.name), "archive")) })
	if j := owner.wait(owner.flush(tb, "WITH (storage = archive)").id, "completed"); j.Rows != 1000 || !strings.HasPrefix(text(j.Location), "s3://"+b.name+"/archive/") {
		t.Errorf("%+v at %s", j, text(j.Location))
	}
	if j := owner.wait(owner.flush(other, "WITH (storage = folder)").id, "completed"); j.Rows != 1000 || !strings.HasPrefix(text(j.Location), "file://"+u.dir+"/second/") {
		t.Errorf("%+v at %s", j, text(j.Location))
	}
	if n := catCount(t, u, "app.in_archive"); n != 1000 {
		t.Errorf("cat gives %d rows", n)
	}

	shown := s.rows("SHOW STORAGES")
	if len(shown) != 3 || shown[0]["name"] != "default" || shown[0]["is_default"] != true || shown[1]["location"] != "s3://"+b.name+"/archive" || shown[1]["rows_cold"] != int64(1000) {
		t.Errorf("%v", shown)
	}
	viewed := s.rows("SELECT name, rows_cold, options ->> 'access_key_env' AS env FROM system.storages WHERE location LIKE 's3:%'")
	if len(viewed) != 1 || viewed[0]["rows_cold"] != int64(1000) || viewed[0]["env"] != cloudtest.AccessKeyEnv {
		t.Errorf("%v", viewed)
	}

	const key, secret = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI"
	at := " LOCATION 's3://" + b.name
	for _, c := range []struct{ statement, code, message string }{
		{"CREATE STORAGE archive" + at + "/elsewhere'" + b.with(), "42710", "already exists"},
		{"CREATE STORAGE x" + at + "/archive/below'" + b.with(), "42710", "overlaps"},
		{"CREATE STORAGE x" + at + "'" + b.with(), "42710", "overlaps"},
		{"CREATE STORAGE x LOCATION 's3://missing-" + b.name + "'" + b.with(), "28000", "does not exist"},
		{"CREATE STORAGE x" + at + "/x'" + b.with("wrong = 1"), "22023", "unknown option"},
		{"CREATE STORAGE x" + at + "/x'" + b.with("path = '../{table}'"), "22023", "path"},
		{"CREATE STORAGE x" + at + "/x'" + b.with("path = '{nonsense}'"), "22023", "unknown variable"},
		{"CREATE STORAGE x" + at + "/x' WITH (secret_access_key = '" + secret + "')", "22023", "unknown option"},
		{"CREATE STORAGE x" + at + "/x' WITH (access_key_env = '" + key + "', secret_key_env = '" + secret + "')", "22023", "not the key itself"},
		{"CREATE STORAGE x LOCATION 's3://" + key + ":" + secret + "@" + b.name + "/x'", "22023", "never part of a location"},
		{"CREATE STORAGE x" + at + "/x?X-Amz-Signature=" + secret + "'", "22023", "secret"},
		{"CREATE STORAGE x LOCATION 'ftp://x'", "22023", "no storage is of this kind"},
		{"CREATE STORAGE " + strings.Repeat("n", 64) + at + "/x'" + b.with(), "22023", "1 to 63"},
		{"CREATE STORAGE x LOCATION 'relative/folder'", "22023", "absolute path"},
		{"DROP STORAGE nothing", "42704", "does not exist"},
		{"DROP STORAGE \"default\"", "2BP01", "cannot be dropped"},
		{"DROP STORAGE archive", "55006", "1 segments"},
		{"ALTER STORAGE nothing ADOPT", "42704", "does not exist"},
	} {
		e := s.refused(c.statement)
		if e.Code != c.code || !strings.Contains(e.Message, c.message) || strings.Contains(e.Message+e.Hint, secret) || strings.Contains(e.Message+e.Hint, key) {
			t.Errorf("%s: %s %s (%s), want %s %s", c.statement, e.Code, e.Message, e.Hint, c.code, c.message)
		}
	}
	for _, statement := range []string{"CREATE STORAGE mine" + at + "/mine'" + b.with(), "DROP STORAGE folder", "ALTER STORAGE folder ADOPT"} {
		if e := owner.refused(statement); e.Code != "42501" {
			t.Errorf("%s by an owner of tables: %s %s", statement, e.Code, e.Message)
		}
	}
	if n := pgtest.Value[int](t, u.db, "SELECT count(*)::int FROM spillway.storages"); n != 3 {
		t.Errorf("%d storages", n)
	}

	s.rows("CREATE STORAGE short" + at + "/short'" + b.with())
	s.rows("DROP STORAGE short")
	s.rows("CREATE STORAGE short LOCATION '" + u.dir + "/third'") // the name leads to the new place, in workers too
	third := u.table(t, "in_short", 100)
	if j := owner.wait(owner.flush(third, "WITH (storage = short)").id, "completed"); !strings.HasPrefix(text(j.Location), "file://"+u.dir+"/third/") {
		t.Errorf("at %s", text(j.Location))
	}

	// A storage's template may take values of partition_by, and asks for it then.
	s.rows("CREATE STORAGE spread LOCATION '" + u.dir + "/fourth' WITH (path = '{namespace}/{table}/{column:tenant}/{shard}')")
	fourth := u.table(t, "in_spread", 70)
	if e := owner.refused("FLUSH TABLE app.in_spread WITH (storage = spread)"); e.Code != "22023" || !strings.Contains(e.Message, "{column:tenant} names no item of partition_by") {
		t.Errorf("%s %s", e.Code, e.Message)
	}
	owner.wait(owner.flush(fourth, "WITH (storage = spread, partition_by = (tenant))").id, "completed")
	if found, err := filepath.Glob(u.dir + "/fourth/app/in_spread/3/*/*.parquet"); err != nil || len(found) != 1 {
		t.Errorf("files of one tenant: %v, %v", found, err)
	}

	// Nothing that was typed in the wrong place was kept.
	kept := pgtest.Value[string](t, u.db, `SELECT concat((SELECT string_agg(a::text, ' ') FROM spillway.audit a), (SELECT string_agg(s::text, ' ') FROM spillway.storages s))`)
	if strings.Contains(kept, secret) || strings.Contains(kept, key) || !strings.Contains(kept, "CREATE STORAGE x LOCATION …") || !strings.Contains(kept, "CREATE STORAGE archive") {
		t.Errorf("kept: %s", kept)
	}
	u.Terminate()
	if strings.Contains(u.Err.String(), secret) || strings.Contains(u.Err.String(), cloudtest.SecretKey) {
		t.Error("a secret is in the log")
	}
}

// A31, A32: a bucket that answers with errors is tried again with back-off, then the job has failed and says so; a bucket that
// refuses us is not. Once it works, a new flush moves all, with no row twice and nothing left lying about.
func TestS3Fails(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	u := ownUpIn(t, b, "--attempts", "3")
	tb := u.table(t, "s3_fails", 1000)
	s := u.owner(t)
	fault := cloudtest.Fault{Status: 503, Code: "SlowDown"}
	b.On(func(op string, _ *http.Request) cloudtest.Fault {
		if op == "PutObject" {
			return fault
		}
		return cloudtest.Fault{}
	})
	a := s.flush(tb, "")
	j := s.wait(a.id, "failed")
	if text(j.Class) != "storage" || !strings.Contains(text(j.Error), "SlowDown") || j.Attempt != 3 || tb.hot() != 1000 {
		t.Errorf("attempt %d, class %s, error %s", j.Attempt, text(j.Class), text(j.Error))
	}
	tries(t, u, a.id, 3)

	fault = cloudtest.Fault{Status: 403, Code: "AccessDenied"}
	j = s.wait(s.flush(tb, "").id, "failed")
	if text(j.Class) != "storage_denied" || !strings.Contains(text(j.Error), "AccessDenied") || j.Attempt != 1 || tb.hot() != 1000 {
		t.Errorf("attempt %d, class %s, error %s", j.Attempt, text(j.Class), text(j.Error))
	}

	// The answer to the upload is lost each time; it is found to have taken place.
	b.Once("PutObject", cloudtest.Fault{NoAnswer: true}, cloudtest.Fault{NoAnswer: true}, cloudtest.Fault{NoAnswer: true}, cloudtest.Fault{NoAnswer: true})
	if j := s.wait(s.flush(tb, "").id, "completed"); j.Rows != 1000 || tb.hot() != 0 {
		t.Errorf("after the repair: %+v, %d rows hot", j, tb.hot())
	}
	if stray := len(tb.objects()) - len(tb.segments()); stray != 0 {
		t.Errorf("%d stray objects: %v", stray, tb.objects())
	}
	u.Terminate()
}

// A26, A29: KILL in the middle of an upload ends it, and takes its parts back.
func TestS3KillInMidUpload(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	u := ownUpIn(t, b)
	tb := u.incompressible(t, "s3_killed")
	s := u.owner(t)
	reached := make(chan struct{}, 100)
	b.On(func(op string, r *http.Request) cloudtest.Fault {
		if op == "UploadPart" && r.URL.Query().Get("partNumber") == "2" {
			reached <- struct{}{}
			return cloudtest.Fault{Wait: make(chan struct{})}
		}
		return cloudtest.Fault{}
	})
	a := s.flush(tb, "WITH (chunk_bytes = '1GB')")
	select {
	case <-reached:
	case <-time.After(await.Patience):
		t.Fatal("no second part was sent")
	}
	s.rows("KILL JOB '" + a.id + "'")
	if j := s.wait(a.id, "cancelled"); j.Rows != 0 || tb.hot() != 12000 {
		t.Errorf("%+v, %d rows hot", j, tb.hot())
	}
	await.Until(t, "the upload is aborted", func() bool { return b.Seen("AbortMultipartUpload") > 0 })
	b.On(nil)
	if j := s.wait(s.flush(tb, "WITH (chunk_bytes = '1GB')").id, "completed"); j.Rows != 12000 {
		t.Errorf("the flush after: %+v", j)
	}
	u.Terminate()
}

// A58: another database's storage is refused, by up, by doctor and by CREATE STORAGE, until it is adopted on purpose.
func TestS3Adopt(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	first := ownUpIn(t, b)
	db := pgtest.Database(t)
	u := startUp(t, db)
	e := u.super(t).refused("CREATE STORAGE theirs LOCATION 's3://" + b.name + "/cold'" + b.with())
	if e.Code != "55000" || !strings.Contains(e.Message, "belongs to another database") {
		t.Errorf("%s %s", e.Code, e.Message)
	}
	first.Terminate()

	// A clone: the same ledger under another identity.
	db.Super(t, "INSERT INTO spillway.storages (name, location, options) SELECT 'theirs', 's3://"+b.name+"/cold', '"+
		`{"endpoint": "`+b.Endpoint+`", "region": "us-east-1", "access_key_env": "`+cloudtest.AccessKeyEnv+`", "secret_key_env": "`+cloudtest.SecretKeyEnv+`"}'`)
	tb := u.table(t, "adopted", 100)
	s := u.super(t)
	if j := s.wait(s.flush(tb, "WITH (storage = theirs)").id, "failed"); text(j.Class) != "refused" || tb.hot() != 100 {
		t.Errorf("class %s, error %s", text(j.Class), text(j.Error))
	}
	if r := product.Run(t, binary, nil, "doctor", "--database-url", db.WorkerURL); !strings.Contains(r.Out+r.Err, "belongs to another database") {
		t.Errorf("doctor: %s", r.Out)
	}
	if rows := s.rows("ALTER STORAGE theirs ADOPT"); rows[0]["status"] != "adopted" {
		t.Errorf("%v", rows)
	}
	if j := s.wait(s.flush(tb, "WITH (storage = theirs)").id, "completed"); j.Rows != 100 {
		t.Errorf("%+v", j)
	}
	u.Terminate()

	// The former owner cannot start any more, and takes its storage back the same way.
	if r := product.Run(t, binary, nil, first.args...); r.Code == 0 || !strings.Contains(r.Err, "spillway storage adopt") {
		t.Errorf("exit code %d: %s", r.Code, r.Err)
	}
	if out := product.MustRun(t, binary, nil, "storage", "adopt", "default", "--database-url", first.db.WorkerURL); !strings.Contains(out, "belongs to this database now") {
		t.Error(out)
	}
	first.start()
	first.Terminate()
}

// VERIFY and CLEANUP read and delete in a bucket as in a folder, whatever is in an object's name: segments are whole, one that was
// changed is damaged, and a stray goes by its address, while a segment stays.
func TestS3VerifyAndCleanup(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	u := ownUpIn(t, b)
	tb := u.table(t, "s3_checked", 0)
	u.db.Exec(t, `INSERT INTO app.s3_checked SELECT i, 1, 'a/b 100% é' || i % 3, NULL, NULL FROM generate_series(1, 300) i`)
	tb.want = audit.Hot(t, u.db.SuperURL, "app", "s3_checked", "")
	owner, s := u.owner(t), u.super(t)
	owner.wait(owner.flush(tb, "WITH (partition_by = (note))").id, "completed")
	segments := tb.segments()
	if len(segments) != 3 || !strings.Contains(segments[0].Location, "%2F") {
		t.Fatalf("segments: %+v", segments)
	}
	path := func(location string) string {
		return filepath.Join(b.server.Path(b.name), strings.TrimPrefix(location, "s3://"+b.name+"/"))
	}
	if found := owner.findings(owner.wait(owner.startOne("VERIFY TABLE app.s3_checked"), "completed").ID); len(found) != 0 {
		t.Errorf("found %v", found)
	}

	segment := segments[0].Location
	whole, err := os.ReadFile(path(segment))
	must(t, err)
	stray := segment[:strings.LastIndex(segment, "/")] + "/copy of it.parquet"
	must(t, os.WriteFile(path(stray), whole, 0o640))
	bad := slices.Clone(whole)
	bad[len(bad)/3] ^= 4
	must(t, os.WriteFile(path(segment), bad, 0o640))
	e := owner.refused("VERIFY TABLE app.s3_checked WITH (wait = true)")
	if e.Code != "XX001" || !strings.Contains(e.Message, "1 of 3") || !strings.Contains(e.Message, segment) {
		t.Errorf("%s %s", e.Code, e.Message)
	}
	must(t, os.WriteFile(path(segment), whole, 0o640))
	found := owner.findings(owner.startOne("VERIFY TABLE app.s3_checked WITH (wait = true)"))
	if len(found) != 1 || found[stray]["kind"] != "stray" || found[stray]["bytes"] != int64(len(whole)) {
		t.Errorf("found %v", found)
	}

	if e := s.refused("CLEANUP OBJECT '" + segment + "', '" + stray + "' WITH (wait = true)"); e.Code != "55000" || !strings.Contains(e.Message, segment) || strings.Contains(e.Message, stray) {
		t.Errorf("%s %s", e.Code, e.Message)
	}
	if _, err := os.Stat(path(stray)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the stray is still there: %v", err)
	}
	s.wait(s.startOne("CLEANUP"), "completed")
	if found := owner.findings(owner.wait(owner.startOne("VERIFY TABLE app.s3_checked"), "completed").ID); len(found) != 0 {
		t.Errorf("found after the clean-up %v", found)
	}
	u.Terminate()
}
