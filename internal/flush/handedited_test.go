package flush_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/tests/audit"
)

// A10, A18: a ledger that somebody has edited by hand: VERIFY names the segment, RESTORE refuses it and changes nothing, and when the edit is
// taken back all is as it was.
func TestLedgerEditedByHand(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(3000))
	r.params["chunk_bytes"] = "65536"
	r.newJob().run()
	const first = " WHERE segment_id = (SELECT min(segment_id::text)::uuid FROM spillway.segments)"
	const keep = "CREATE TABLE spillway.kept AS SELECT * FROM spillway.segments" + first
	// The identity of the row is what the test edits around, so all of it is put back from a copy.
	r.db.Super(t, keep)
	for name, edit := range map[string]string{
		"sha-256":                      "UPDATE spillway.segments SET sha256 = repeat('0', 64)" + first,
		"rows":                         "UPDATE spillway.segments SET row_count = row_count + 1" + first,
		"bytes":                        "UPDATE spillway.segments SET bytes = bytes - 1" + first,
		"location of another's file":   "UPDATE spillway.segments SET location = replace(location, '.parquet', '-2.parquet')" + first,
		"location above the storage":   "UPDATE spillway.segments SET location = regexp_replace(location, '/app/.*', '/../../../etc/passwd')" + first,
		"location outside the storage": "UPDATE spillway.segments SET location = 'file:///etc/passwd'" + first,
		"location that is none":        "UPDATE spillway.segments SET location = E'\\x01%zz://'" + first,
		"location that is empty":       "UPDATE spillway.segments SET location = ''" + first,
		"leaf":                         "UPDATE spillway.segments SET leaf = 'app.other'" + first,
	} {
		r.db.Super(t, edit)
		found, err := r.verify()
		if err == nil || len(found) == 0 {
			t.Errorf("%s: VERIFY found %v, %v", name, found, err)
		}
		if name != "leaf" { // which says only where rows of heirs go
			j := r.newRestore(nil)
			failed := 0
			for n := range j.plan.Chunks {
				if name := jobstep.ClassOf(r.tryOne(j, n)).Name; name == jobstep.ClassDamaged || name == jobstep.ClassStorage {
					failed++
				}
			}
			if failed != 1 {
				t.Errorf("%s: %d of %d segments could not be restored, want 1", name, failed, j.plan.Chunks)
			}
			j.finish("failed", nil)
		}
		r.db.Super(t, `UPDATE spillway.segments s SET sha256 = k.sha256, row_count = k.row_count, bytes = k.bytes, location = k.location, leaf = k.leaf FROM spillway.kept k WHERE s.segment_id = k.segment_id`)
		r.params = map[string]string{"chunk_bytes": "65536"}
		audit.Check(t, r.db.SuperURL, "app", "t", r.want)
	}
	r.db.Super(t, "DROP TABLE spillway.kept")
	r.restore(nil)
	if n := coldCount(t, r); n != 0 {
		t.Errorf("%d rows are cold after all", n)
	}
}

// tryOne restores a segment, and says why it could not.
func (r *rig) tryOne(j *job, n int) error {
	_, err := j.segment(n)
	return err
}

// Two segments cannot have one object, and what the protocol needs of a committed chunk cannot be taken from under it unseen.
func TestLedgerRefusesHands(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(3000))
	r.params["chunk_bytes"] = "65536"
	j := r.newJob()
	j.run()
	conn := r.db.Connect(t, r.db.SuperURL)
	_, err := conn.Exec(t.Context(), "UPDATE spillway.segments SET location = (SELECT min(location) FROM spillway.segments)")
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "23505" {
		t.Errorf("two segments of one object: %v", err)
	}
	// The rows that say that the chunks are done are gone: a late try finds nothing to move, and registers nothing twice.
	r.db.Super(t, "DELETE FROM spillway.chunks WHERE job_id = '"+j.id+"'", "DELETE FROM spillway.attempts")
	if _, err := j.chunk(0); err != nil {
		t.Logf("a late try: %v", err)
	}
	if found, err := r.verify(); err != nil || len(found) != 0 {
		t.Errorf("VERIFY: %v, %v", found, err)
	}
	audit.Check(t, r.db.SuperURL, "app", "t", r.want)
}

// The manifest is a copy: whatever somebody makes of it, the next one is written from the ledger.
func TestManifestEditedByHand(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(200))
	r.newJob().run()
	path := filepath.Join(r.dir, "app", "t", layout.ManifestName)
	good, err := os.ReadFile(path)
	must(t, err)
	for name, text := range map[string]string{"empty": "", "no JSON": "}{", "another's": strings.ReplaceAll(string(good), `"rows": 200`, `"rows": 1`), "huge": strings.Repeat("[", 1<<20)} {
		must(t, os.WriteFile(path, []byte(text), 0o640))
		if found, err := r.verify(); err != nil || len(found) != 0 {
			t.Errorf("%s: VERIFY minds a manifest: %v, %v", name, found, err)
		}
		must(t, r.f.PublishTable(context.Background(), "app", "t"))
		now, err := os.ReadFile(path)
		must(t, err)
		if !strings.Contains(string(now), `"rows": 200`) {
			t.Errorf("%s: the manifest is not as it was: %d bytes", name, len(now))
		}
	}
}

// A54: a manifest that lists what is no longer cold, or not yet all that is, as a job leaves it whose last try met a full disk: CLEANUP writes
// it again, and leaves one that is right as it is.
func TestCleanupWritesStaleManifests(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(200))
	r.newJob().run()
	path := filepath.Join(r.dir, "app", "t", layout.ManifestName)
	old, err := os.ReadFile(path)
	must(t, err)
	r.db.Exec(t, "INSERT INTO app.t (id, tenant) VALUES (1001, 1)")
	r.want = r.want.Add(audit.Hot(t, r.db.SuperURL, "app", "t", ""))
	r.newJob().run()
	right, err := os.Stat(path)
	must(t, err)
	clean := func() {
		t.Helper()
		_, err := r.cleanup(false)
		must(t, err)
	}
	clean()
	if now, err := os.Stat(path); err != nil || !os.SameFile(now, right) {
		t.Errorf("CLEANUP wrote a manifest that was right: %v", err)
	}
	for name, spoil := range map[string]func() error{
		"an old one": func() error { return os.WriteFile(path, old, 0o640) },
		"none":       func() error { return os.Remove(path) },
		"half":       func() error { return os.WriteFile(path, old[:len(old)/2], 0o640) },
		"empty":      func() error { return os.WriteFile(path, nil, 0o640) },
	} {
		must(t, spoil())
		_, err := r.cleanup(true)
		must(t, err)
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), `"rows": 201`) {
			t.Errorf("%s: a dry run wrote the manifest", name)
		}
		clean()
		if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), `"rows": 201`) {
			t.Errorf("%s: the manifest is %.100q, %v", name, text, err)
		}
	}
}
