package ledger_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/spillwaydb/spillway/internal/ledger"
)

func overlaps(a, b string) bool {
	return strings.HasPrefix(a+"/", b+"/") || strings.HasPrefix(b+"/", a+"/")
}

// A24: a storage in use is not dropped, the default one never; two that overlap do not come to be, at one time neither.
func TestStoragesComeAndGo(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	ctx := t.Context()
	if _, err := l.EnsureDefaultStorage(ctx, "file:///srv/default"); err != nil {
		t.Fatal(err)
	}
	row := ledger.StorageRow{Name: "archive", Location: "s3://b/archive", Options: []byte(`{"region": "eu-1"}`), CreatedBy: "alice"}
	if err := l.CreateStorage(ctx, row, overlaps); err != nil {
		t.Fatal(err)
	}
	got, err := l.Storage(ctx, "archive")
	if err != nil || !got.Pending || got.CheckedAt != nil || got.CreatedBy != "alice" {
		t.Errorf("%+v, %v", got, err)
	}
	if options, err := got.OptionMap(); err != nil || options["region"] != "eu-1" {
		t.Errorf("%v, %v", options, err)
	}
	var overlap *ledger.StorageOverlapError
	for name, location := range map[string]string{"archive": "s3://other", "below": "s3://b/archive/x", "above": "s3://b", "same": "s3://b/archive"} {
		if err := l.CreateStorage(ctx, ledger.StorageRow{Name: name, Location: location}, overlaps); !errors.As(err, &overlap) || overlap.Other.Name != "archive" {
			t.Errorf("%s at %s: %v", name, location, err)
		}
	}

	check := func(class, message string, pending bool) {
		t.Helper()
		if err := l.SetStorageChecked(ctx, "archive", "s3://b/archive", class, message); err != nil {
			t.Fatal(err)
		}
		if got, err := l.Storage(ctx, "archive"); err != nil || got.Pending != pending || (got.CheckError != nil) != (class != "") {
			t.Errorf("after %q: %+v, %v", class, got, err)
		}
	}
	check("storage", "no answer", true)
	if err := l.SetStorageChecked(ctx, "archive", "s3://elsewhere", "", ""); err != nil {
		t.Fatal(err)
	}
	check("storage", "still none", true) // the check of another place counted for nothing
	check("", "", false)
	check("storage", "away", false) // once good, it stays in use
	if err := l.DiscardStorage(ctx, "archive"); err != nil {
		t.Fatal(err)
	}
	if uses, err := l.StorageUses(ctx); err != nil || len(uses) != 2 || uses[0].Name != ledger.DefaultStorage || uses[1].Name != "archive" {
		t.Errorf("%+v, %v", uses, err)
	}

	for _, c := range []struct{ use, unuse, says string }{
		{`INSERT INTO spillway.segments (segment_id, job_id, chunk, attempt, table_schema, table_name, leaf, storage, location, row_count, bytes, sha256, schema_version, restored_at)
		  VALUES (gen_random_uuid(), 'j', 0, gen_random_uuid(), 'a', 't', 'a.t', 'archive', 's3://b/archive/x', 1, 1, '', 1, now())`, `DELETE FROM spillway.segments`, "1 segments"},
		{`INSERT INTO spillway.attempts (attempt_id, job_id, chunk, storage, object_prefix, backend_pid, backend_start, condemned_at)
		  VALUES (gen_random_uuid(), 'j', 0, 'archive', 'x', 1, now(), now())`, `DELETE FROM spillway.attempts`, "1 attempts"},
		{`INSERT INTO spillway.plans (job_id, generation, request_id, first_chunk, chunks, rows_estimate, plan) VALUES ('j', 1, gen_random_uuid(), 0, 1, 1, '{"Storage": "archive"}')`,
			`INSERT INTO spillway.job_history (job_id, job_type, table_schema, table_name, status, created_at) VALUES ('j', 'flush', 'a', 't', 'completed', now())`, "1 live jobs"},
		{`INSERT INTO spillway.tables (table_schema, table_name, policy) VALUES ('a', 't', '{"rows": 1, "flush": {"storage": "archive"}}')`, `DELETE FROM spillway.tables`, "1 policies"},
	} {
		db.Super(t, c.use)
		var used *ledger.StorageInUseError
		if err := l.DropStorage(ctx, "archive"); !errors.As(err, &used) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want %s", err, c.says)
		}
		db.Super(t, c.unuse)
	}
	if err := l.DropStorage(ctx, "archive"); err != nil {
		t.Error(err)
	}
	if err := l.DropStorage(ctx, "archive"); !errors.Is(err, ledger.ErrNotFound) {
		t.Error(err)
	}
	if err := l.DropStorage(ctx, ledger.DefaultStorage); !errors.Is(err, ledger.ErrDefaultStorage) {
		t.Error(err)
	}

	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() {
			results[i] = l.CreateStorage(ctx, ledger.StorageRow{Name: string(rune('a' + i)), Location: "s3://race" + strings.Repeat("/x", i)}, overlaps)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else if !errors.As(err, &overlap) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d of 8 overlapping storages came to be", won)
	}
}
