package flush_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
)

// A58: a clone has the rows of the original's attempts. Neither before nor after it adopts the storage does its clean-up take
// what the original has registered; and the other way round.
func TestCloneOnTheSameStorage(t *testing.T) {
	t.Parallel()
	bin, err := embedpg.Find(t.Context())
	must(t, err)
	if dump := filepath.Join(bin.Dir, "pg_dump"); !exists(dump) {
		t.Skipf("%s is not installed", dump)
	}
	r := newRig(t, events, fill(400))
	flushTable(t, r, "t") // some rows are cold before
	r.db.Exec(t, strings.Replace(fill(200), "generate_series(1, 200)", "generate_series(10001, 10200)", 1))
	r.want = nil // taken at the end
	open := r.holdSegments()
	j := r.newJob()
	done := make(chan error, 1)
	go func() { done <- j.chunks(&j.plan) }()
	files := func() []string {
		list, _ := filepath.Glob(filepath.Join(r.dir, "app/t/*.parquet"))
		return list
	}
	until(t, func() bool { return len(files()) == 2 })
	clone := r.clone() // as of now: the attempt has not committed
	open()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	j.finish("completed", nil)
	if n := pgtest.Value[int](t, clone.db, "SELECT count(*) FROM spillway.attempts"); n != 1 {
		t.Fatalf("the clone has %d attempts of the original", n)
	}

	until(t, func() bool { // in the clone's eyes, too: it is on the same server here
		return pgtest.Value[int](t, clone.db, "SELECT count(*) FROM spillway.attempts a JOIN pg_stat_activity s ON s.pid = a.backend_pid AND s.backend_start = a.backend_start") == 0
	})
	if _, err := clone.cleanup(false); !isForeign(err) {
		t.Errorf("the clone's clean-up is not refused: %v", err)
	}
	clone.adopt()
	found, err := clone.cleanup(false)
	if err != nil || len(found) != 1 {
		t.Errorf("%v, %+v", err, found)
	}
	for path, f := range found {
		if f.Action != ledger.ActionKept || !exists(path) || !strings.Contains(f.Problem, "another database") {
			t.Errorf("%s: %+v", path, f)
		}
	}
	// A flush of the clone settles what came before it, too.
	flushTable(t, clone, "t")
	for _, p := range r.segmentFiles() {
		if !exists(p) {
			t.Errorf("the clone removed %s of the original", p)
		}
	}
	// Now the original is the stranger.
	_, orphan := r.orphan("flush:app.t:"+uuid.NewString(), true)
	if _, err := r.cleanup(false); !isForeign(err) {
		t.Errorf("the original's clean-up is not refused: %v", err)
	}
	r.adopt()
	if _, err := r.cleanup(false); err != nil || exists(orphan) {
		t.Error(err)
	}
	for _, p := range clone.segmentFiles() {
		if !exists(p) {
			t.Errorf("the original removed %s of the clone", p)
		}
	}
	if bad, err := r.verify(); err != nil {
		t.Errorf("%v, %+v", err, bad)
	}
	clone.adopt()
	if bad, err := clone.verify(); err != nil {
		t.Errorf("%v, %+v", err, bad)
	}
	clone.leave(r)
}

// leave removes what only the clone knows, so that the audit of the original finds its own files.
func (r *rig) leave(original *rig) {
	r.t.Helper()
	for _, p := range r.segmentFiles() {
		if !slices.Contains(original.segmentFiles(), p) {
			if err := os.Remove(p); err != nil {
				r.t.Error(err)
			}
		}
	}
	original.adopt()
	if err := original.f.PublishTable(context.Background(), "app", "t"); err != nil {
		r.t.Error(err)
	}
}

func isForeign(err error) bool {
	var foreign *objstore.ForeignOwnerError
	return errors.As(err, &foreign) && jobstep.ClassOf(err).Name == jobstep.ClassRefused
}

// clone copies the database as it is now, with the same ledger and the same storage.
func (r *rig) clone() *rig {
	r.t.Helper()
	srv := r.db.Server
	name := r.db.Name + "_clone"
	c := &rig{t: r.t, dir: r.dir, params: map[string]string{}}
	db := *r.db
	c.db = &db
	c.db.Name = name
	c.db.SuperURL = srv.SuperURL(name)
	for _, u := range []*string{&c.db.OwnerURL, &c.db.WorkerURL} {
		*u = strings.Replace(*u, "/"+r.db.Name, "/"+name, 1)
	}
	r.dump(name)
	r.t.Cleanup(func() { r.admin("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)") })
	var err error
	if c.hot, err = hot.Open(context.Background(), c.db.WorkerURL, nil); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.hot.Close)
	c.ledger = ledger.New(c.hot.Pool(), nil)
	c.build()
	return c
}

// dump copies the database into a new one, in one snapshot, while transactions go on.
func (r *rig) dump(name string) {
	r.t.Helper()
	bin, err := embedpg.Find(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := exec.Command(filepath.Join(bin.Dir, "pg_dump"), "--no-publications", r.db.SuperURL).Output()
	if err != nil {
		r.t.Fatalf("pg_dump: %v", err)
	}
	r.admin("CREATE DATABASE " + name + " TEMPLATE template0")
	psql := exec.Command(filepath.Join(bin.Dir, "psql"), "-qX", "-v", "ON_ERROR_STOP=1", r.db.Server.SuperURL(name))
	psql.Stdin = bytes.NewReader(text)
	if out, err := psql.CombinedOutput(); err != nil {
		r.t.Fatalf("psql: %v\n%s", err, out)
	}
}

func (r *rig) admin(statement string) {
	r.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, r.db.Server.SuperURL("postgres"))
	if err == nil {
		_, err = conn.Exec(ctx, statement)
		conn.Close(ctx)
	}
	if err != nil {
		r.t.Errorf("%s: %v", statement, err)
	}
}

// adopt makes the storage this database's.
func (r *rig) adopt() {
	r.t.Helper()
	ctx := context.Background()
	inst, err := r.ledger.Installation(ctx, "")
	if err != nil {
		r.t.Fatal(err)
	}
	id, err := r.ledger.Identity(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	store, err := objstore.Open(ctx, r.dir)
	if err == nil {
		err = objstore.AdoptOwner(ctx, store, objstore.Owner{
			InstallationID: inst.ID.String(), SystemIdentifier: id.SystemIdentifier, DatabaseOID: id.DatabaseOID, Timeline: int64(id.Timeline),
		})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// A58: a copy of the database that was restored to a point in time is on another timeline; nothing else about it is new.
func TestCopyOfAPointInTime(t *testing.T) {
	t.Parallel()
	r, _ := flushed(t)
	_, orphan := r.orphan("flush:app.t:"+uuid.NewString(), true)
	id, err := r.ledger.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := id
	before.Timeline++
	if id.Timeline == 0 || before.Origin() == id.Origin() {
		t.Fatalf("identity %+v", id)
	}
	r.db.Super(t, "UPDATE spillway.attempts SET origin = '"+before.Origin()+"'")
	found, err := r.cleanup(false)
	if err != nil || found[orphan].Action != ledger.ActionKept || !exists(orphan) {
		t.Errorf("%v, %+v", err, found)
	}
	// Whoever knows better names it.
	copied := filepath.Join(filepath.Dir(orphan), strings.TrimSuffix(filepath.Base(orphan), ".parquet")+"-2.parquet")
	plant(t, copied, []byte("of the original"))
	if found, err := r.cleanup(false, "file://"+copied); err != nil || exists(copied) {
		t.Errorf("%v, %+v", err, found)
	}
	r.db.Super(t, "UPDATE spillway.attempts SET origin = '"+id.Origin()+"'")
	if found, err := r.cleanup(false); err != nil || exists(orphan) {
		t.Errorf("%v, %+v", err, found)
	}
}
