package flush_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
)

// nestedTypes are the types that the tests here use.
var nestedTypes = []string{
	`CREATE DOMAIN app.price AS numeric(7,2)`,
	`CREATE TYPE app.item AS (sku text, "the price" app.price, at timestamptz)`,
	`CREATE TYPE app.place AS (name text, addr inet)`,
}

// A11: arrays, composites and what is made of them move and read back as they were.
func TestFlushNestedTypes(t *testing.T) {
	t.Parallel()
	r := newRig(t, append(nestedTypes,
		`CREATE TABLE app.t (id int PRIMARY KEY, tags text[], item app.item, items app.item[], prices app.price[], place app.place, spans interval[])`,
		`INSERT INTO app.t VALUES
			(1, '{a,NULL,"b c",""}', ROW('x "y"', 1.5, '2026-01-01 00:00+00'), ARRAY[ROW(NULL, NULL, NULL)::app.item, NULL], '{1,NULL}', ROW('n', '10.0.0.1'), '{1 day}'),
			(2, '{}', ROW(NULL, NULL, NULL), '{}', '{}', ROW(NULL, NULL), '[3:3]={1 mon}'),
			(3, NULL, NULL, NULL, NULL, NULL, NULL)`,
		`INSERT INTO app.t SELECT i, ARRAY['t' || i, 't' || i % 7], ROW('s' || i, (i / 100.0)::numeric(7,2), now())::app.item, ARRAY[ROW('s', i::numeric(7,2), NULL)::app.item], NULL, NULL, '{{1 day},{2 days}}' FROM generate_series(4, 5000) i`)...)
	r.params = map[string]string{"verify": "full", "chunk_bytes": "64kB"}
	if res, left := r.newJob().run(); res.Rows != 5000 || left.RowsLeft != 0 {
		t.Errorf("moved %d rows, left %d", res.Rows, left.RowsLeft)
	}
	stats := pgtest.Value[string](t, r.db, `SELECT sum((c->>'nulls')::int) || ' ' || bool_or(c ? 'min') FROM spillway.segments, jsonb_array_elements(column_stats) c WHERE c->>'name' = 'item'`)
	if stats != "1 false" {
		t.Errorf("column_stats of a composite: %s", stats)
	}
	declared := pgtest.Value[string](t, r.db, `SELECT columns::text FROM spillway.schema_versions`)
	for _, want := range []string{`"the price"`, `"app.price"`, `"attnum": 3`} {
		if !strings.Contains(declared, want) {
			t.Errorf("the schema version does not tell %s: %s", want, declared)
		}
	}
}

// A19: a value without a counterpart fails its chunk, with table, column, ctid and key in the ledger and not in the error that
// travels; the rows stay hot.
func TestUnrepresentableNestedValues(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		table, value string
		params       map[string]string
		want         []string
	}{
		"two dimensions": {"id int PRIMARY KEY, v int[]", `'{{1,2},{3,4}}'`, nil, []string{"app.t", `column "v"`, "ctid (0,3)", "key id=3", "2 dimensions", "as_text"}},
		"lower bound":    {"id int, v int[]", `'[2:3]={7,8}'`, nil, []string{"app.t", `column "v"`, "ctid (0,3)", "lower bound is 2", "as_text"}},
		"shape and null": {"id int, v int[]", `'{{1}}'`, map[string]string{"on_unrepresentable": "null"}, []string{"2 dimensions"}},
		"array in composite": {"k text, id int, v app.holder, PRIMARY KEY (id, k)", `ROW('[0:0]={1}')`, nil,
			[]string{`column "v"`, `attribute "list"`, "ctid (0,3)", "k=key", "id=3", "lower bound is 0"}},
		"NaN in an array":       {"id int PRIMARY KEY, v numeric(7,2)[]", `'{1,NaN}'`, nil, []string{`column "v"`, "ctid (0,3)", "key id=3", "NaN has no DECIMAL"}},
		"infinity in composite": {"id int PRIMARY KEY, v app.item", `ROW('a', 1, 'infinity')`, nil, []string{`column "v"`, `attribute "at"`, "key id=3", "infinity"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			insert := `INSERT INTO app.t (id, v) VALUES (1, NULL), (2, NULL), (3, ` + tc.value + `), (4, NULL)`
			if strings.Contains(tc.table, "k text") {
				insert = `INSERT INTO app.t (k, id, v) VALUES ('a', 1, NULL), ('b', 2, NULL), ('key', 3, ` + tc.value + `)`
			}
			r := newRig(t, append(nestedTypes, `CREATE TYPE app.holder AS (list int[])`, `CREATE TABLE app.t (`+tc.table+`)`, insert)...)
			for k, v := range tc.params {
				r.params[k] = v
			}
			j := r.newJob()
			_, err := j.chunk(0)
			if class := jobstep.ClassOf(err); class.Name != jobstep.ClassUnrepresentable || class.Retryable {
				t.Fatalf("class %+v of %v", class, err)
			}
			text := pgtest.Value[string](t, r.db, `SELECT message FROM spillway.failures`)
			for _, want := range tc.want {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in %s", want, text)
				}
			}
			if n := r.hotCount(); n != int64(r.want.Count()) {
				t.Errorf("%d rows are hot", n)
			}
		})
	}
}

// A19: by policy, what has no counterpart becomes NULL where it stands, and nothing else does.
func TestUnrepresentableNestedValuesAsNull(t *testing.T) {
	t.Parallel()
	r := newRig(t, append(nestedTypes, `CREATE TABLE app.t (id int PRIMARY KEY, v numeric(7,2)[], w app.item)`,
		`INSERT INTO app.t VALUES (1, '{1.00,NaN,2.00}', ROW('a', 1.00, 'infinity')), (2, '{NaN}', ROW(NULL, NULL, '-infinity'))`)...)
	r.params["on_unrepresentable"] = "null"
	r.newJob().run()
	r.want = nil // the values differ, by request
	var got []string
	for _, row := range coldRows(t, r, "t") {
		got = append(got, strings.Join(row, " | "))
	}
	want := "1 | {1.00,NULL,2.00} | (a,1.00,); 2 | {NULL} | (,,)"
	if strings.Join(got, "; ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A11: by option, arrays of every shape move as text.
func TestAsText(t *testing.T) {
	t.Parallel()
	r := newRig(t, `CREATE TABLE app.t (id int PRIMARY KEY, "Odd, ""name""" int[], n numeric(5,2))`,
		`INSERT INTO app.t VALUES (1, '{{1,2},{3,4}}', 'NaN'), (2, '[2:3]={7,8}', 1), (3, NULL, NULL)`)
	r.params["as_text"] = `"Odd, ""name""", n`
	if res, _ := r.newJob().run(); res.Rows != 3 {
		t.Errorf("moved %d rows", res.Rows)
	}
	r.params["as_text"] = "nothing"
	_, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: "flush:app.t:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", RequestID: r.request(), Generation: 1})
	var refused *flush.RefusedError
	if !errors.As(err, &refused) || refused.Refusal.Code != "42703" {
		t.Errorf("got %v", err)
	}
}

// A type's attributes change without any lock on the table that uses it: between plan and chunk it is noticed by the look under
// the lock, and in the middle of a COPY by the values.
func TestCompositeChangesUnderAJob(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"added":   `ALTER TYPE app.item ADD ATTRIBUTE more int`,
		"dropped": `ALTER TYPE app.item DROP ATTRIBUTE sku`,
		"renamed": `ALTER TYPE app.item RENAME ATTRIBUTE sku TO code`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, append(nestedTypes, `CREATE TABLE app.t (id int, items app.item[])`,
				`INSERT INTO app.t SELECT i, ARRAY[ROW('s' || i, i, NULL)::app.item] FROM generate_series(1, 100) i`)...)
			j := r.newJob()
			r.db.Exec(t, change)
			r.want = nil // the rows are as the new type prints them
			_, err := j.chunk(0)
			if jobstep.ClassOf(err).Name != jobstep.ClassReplan || !strings.Contains(err.Error(), "its columns") {
				t.Fatalf("got %v", err)
			}
			j.plan, err = r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2})
			if err != nil {
				t.Fatal(err)
			}
			if res, left := j.run(); res.Rows != 100 || left.RowsLeft != 0 {
				t.Errorf("moved %d rows, left %d", res.Rows, left.RowsLeft)
			}
		})
	}
}

// A type that changes after the look under the lock, and before the COPY, is noticed by the values, or by the second look where
// these cannot tell.
func TestCompositeChangesUnderTheLock(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ change, want string }{
		"added":   {`ALTER TYPE app.item ADD ATTRIBUTE more int`, "other attributes"},
		"renamed": {`ALTER TYPE app.item RENAME ATTRIBUTE sku TO code`, "its columns"},
		"swapped": {`ALTER TYPE app.item DROP ATTRIBUTE at, ADD ATTRIBUTE later timestamptz`, "its columns"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, append(nestedTypes, `CREATE TABLE app.t (id int, items app.item[])`,
				`INSERT INTO app.t SELECT i, ARRAY[ROW('s' || i, i, NULL)::app.item] FROM generate_series(1, 100) i`)...)
			r.want = nil // the rows are as the new type prints them
			once := sync.OnceFunc(func() { r.db.Exec(t, tc.change) })
			r.f = r.flusher(func(ctx context.Context, location string) (objstore.Store, error) {
				s, err := objstore.Open(ctx, location)
				return &lateStore{s, once}, err
			})
			j := r.newJob()
			_, err := j.chunk(0)
			if jobstep.ClassOf(err).Name != jobstep.ClassReplan || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v", err)
			}
			if n := r.hotCount(); n != 100 {
				t.Errorf("%d rows are hot", n)
			}
			if j.plan, err = r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2}); err != nil {
				t.Fatal(err)
			}
			if res, left := j.run(); res.Rows != 100 || left.RowsLeft != 0 {
				t.Errorf("moved %d rows, left %d", res.Rows, left.RowsLeft)
			}
		})
	}
}

// lateStore does something when a chunk has looked at its table and is about to copy.
type lateStore struct {
	objstore.Store
	do func()
}

func (s *lateStore) Create(ctx context.Context, key string) (objstore.Writer, error) {
	s.do()
	return s.Store.Create(ctx, key)
}

// TestFindRow names rows by keys of types that print in odd ways.
func TestFindRow(t *testing.T) {
	t.Parallel()
	r := newRig(t, `CREATE TYPE app.mood AS ENUM ('so so')`, `CREATE DOMAIN app.day AS date`,
		`CREATE TABLE app.t (d app.day, m app.mood, b bytea, PRIMARY KEY (m, b, d))`, `INSERT INTO app.t VALUES ('2026-01-01', 'so so', '\x00'), ('2026-01-02', 'so so', '\x01')`)
	tab, err := r.hot.Inspect(t.Context(), r.hot.Pool(), "app", "t")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{`so so,\x01,2026-01-02`: "(0,2)", `so so,\x02,2026-01-02`: "", `so so`: ""} {
		if got, err := r.hot.FindRow(t.Context(), tab, strings.Split(key, ",")); got != want || err != nil {
			t.Errorf("%s: got %q, %v", key, got, err)
		}
	}
}

// coldRows reads the rows of a table's segments, in their order.
func coldRows(t *testing.T, r *rig, table string) (out [][]string) {
	t.Helper()
	for s, err := range r.ledger.LiveSegments(t.Context(), "app", table) {
		if err != nil {
			t.Fatal(err)
		}
		path, ok := objstore.Path(s.Location)
		if !ok {
			t.Fatalf("no path: %s", s.Location)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rd, err := segment.OpenReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for rd.Next() {
			var row []string
			for _, v := range rd.Row() {
				if v.Null {
					row = append(row, "<null>")
				} else {
					row = append(row, string(v.Text))
				}
			}
			out = append(out, row)
		}
		if rd.Err() != nil {
			t.Fatal(rd.Err())
		}
	}
	return out
}
