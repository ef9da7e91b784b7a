package flush_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/restore"
	"github.com/spillwaydb/spillway/tests/audit"
)

// A11 A15 A18: values of a composite come back under the attributes that they had, or not at all; as text too, in arrays, with rows that
// stay cold, and if the type was made anew.
func TestRestoreIntoAChangedComposite(t *testing.T) {
	t.Parallel()
	const shows = "SELECT count(*) = 50 AND bool_and((items[1]).at = '2026-01-01 00:00+00') FROM app.t WHERE id <= 50"
	for name, c := range map[string]struct{ change, shows string }{
		"swapped":                     {"ALTER TYPE app.item DROP ATTRIBUTE at, ADD ATTRIBUTE later timestamptz", ""},
		"swapped, by one name":        {"ALTER TYPE app.item DROP ATTRIBUTE at, ADD ATTRIBUTE at timestamptz", ""},
		"added":                       {"ALTER TYPE app.item ADD ATTRIBUTE more int", ""},
		"dropped":                     {"ALTER TYPE app.item DROP ATTRIBUTE sku", ""},
		"renamed":                     {"ALTER TYPE app.item RENAME ATTRIBUTE sku TO code", shows},
		"inner":                       {"ALTER TYPE app.inner DROP ATTRIBUTE a, ADD ATTRIBUTE c int", ""},
		"made anew":                   {`DROP TABLE app.t; DROP TYPE app.item; CREATE TYPE app.item AS (sku text, "the price" app.price, at timestamptz, i app.inner); @table; GRANT SELECT, INSERT ON app.t TO @worker`, shows},
		"made anew, in another order": {`DROP TABLE app.t; DROP TYPE app.item; CREATE TYPE app.item AS ("the price" app.price, sku text, at timestamptz, i app.inner); @table; GRANT SELECT, INSERT ON app.t TO @worker`, ""},
		"text now":                    {"ALTER TABLE app.t ALTER items TYPE text", `SELECT bool_and(items LIKE '%2026-01-01%') FROM app.t`},
	} {
		for _, asText := range []string{"", "items"} {
			for _, params := range []map[string]string{nil, {"where": "(id <= 50)"}} {
				t.Run(strings.TrimSpace(name+" "+asText+" "+params["where"]), func(t *testing.T) {
					t.Parallel()
					const table = "CREATE TABLE app.t (id int, items app.item[])"
					r := newRestoreRig(t, `CREATE DOMAIN app.price AS numeric(7,2)`, `CREATE TYPE app.inner AS (a int, b int)`,
						`CREATE TYPE app.item AS (sku text, "the price" app.price, at timestamptz, i app.inner)`, table,
						`INSERT INTO app.t SELECT i, ARRAY[ROW('s' || i, i, '2026-01-01 00:00+00', ROW(1, 2))::app.item] FROM generate_series(1, 100) i`)
					if asText != "" {
						r.params["as_text"] = asText
					}
					r.newJob().run()
					before := audit.Cold(t, r.db.SuperURL, "app", "t")
					r.db.Exec(t, strings.Split(strings.NewReplacer("@table", table, "@worker", r.db.Worker).Replace(c.change), "; ")...)
					r.want = nil // rows that are back are as the new type prints them
					j := r.newRestore(params)
					_, err := j.segment(0)
					if c.shows == "" {
						var changed *restore.AttributesChangedError
						if !errors.As(err, &changed) || jobstep.ClassOf(err).Name != jobstep.ClassRefused || changed.Column != "items" || !strings.Contains(err.Error(), "attributes") {
							t.Fatalf("got %v", err)
						}
						if r.hotCount() != 0 || coldCount(t, r) != 100 {
							t.Errorf("%d rows are hot, %d cold", r.hotCount(), coldCount(t, r))
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					must(t, j.f.Publish(context.Background(), j.id))
					after := audit.Cold(t, r.db.SuperURL, "app", "t")
					if !pgtest.Value[bool](t, r.db, c.shows) || r.hotCount()+int64(after.Count()) != 100 || params != nil && after.Count() != 50 {
						t.Errorf("%d rows are hot, %d cold, or they differ", r.hotCount(), after.Count())
					}
					for row := range after {
						if before[row] != 1 {
							t.Errorf("a row that stays cold has changed: %q", row)
						}
					}
				})
			}
		}
	}
}

// A18 A60: a composite that changes while its values are put back is noticed by the second look.
func TestCompositeChangesUnderARestore(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, append(nestedTypes, `CREATE TABLE app.t (id int, item app.item)`, `INSERT INTO app.t SELECT i, ROW('s', i, NULL)::app.item FROM generate_series(1, 100) i`)...)
	r.newJob().run()
	r.want = nil // what is cold then has attributes that the type has no more
	once := sync.OnceFunc(func() { r.db.Exec(t, "ALTER TYPE app.item DROP ATTRIBUTE at, ADD ATTRIBUTE later timestamptz") })
	j := r.newRestore(nil)
	_, err := r.f.RestoreSegment(context.Background(), jobstep.ChunkInput{JobID: j.id, Attempt: 1}, func(c jobstep.Checkpoint) {
		if c.Step == jobstep.StepCopying { // after the look under the lock, and before the COPY
			once()
		}
	})
	if class := jobstep.ClassOf(err); class.Name != jobstep.ClassLock || !class.Retryable || r.hotCount() != 0 || coldCount(t, r) != 100 {
		t.Errorf("%v; %d rows are hot, %d cold", err, r.hotCount(), coldCount(t, r))
	}
	if _, err := j.segment(0); jobstep.ClassOf(err).Name != jobstep.ClassRefused {
		t.Errorf("the next try: %v", err)
	}
}
