package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/product"
)

// A14: a name that needs quoting, through every layer: SQL, job id, workflow id, path, ledger, cat.
func TestOddName(t *testing.T) {
	t.Parallel()
	u := shared(t)
	const quoted = `app."Odd ""näme"". a/b%"`
	name := `Odd "näme". a/b%`
	u.db.Exec(t, "CREATE TABLE "+quoted+` ("the Key" int PRIMARY KEY, "ünï" text, "select" text)`,
		"INSERT INTO "+quoted+` SELECT i, 'wört ' || i, NULL FROM generate_series(1, 50) i`)
	grantTo(t, u.db, quoted)
	want := audit.Hot(t, u.db.SuperURL, "app", name, "")
	s := u.owner(t)
	a := s.startedBy("FLUSH TABLE " + quoted + ` WHERE "the Key" <= 40 AND "ünï" LIKE 'wört%'`)
	if j := s.wait(a.id, "completed"); j.Rows != 40 || strings.Contains(text(j.Location), "a/b") {
		t.Errorf("%+v, %s", j, text(j.Location))
	}
	if e := s.refused("KILL JOB '" + strings.ReplaceAll(a.id, "'", "''") + "'"); e.Code != "55000" {
		t.Errorf("%+v", e)
	}
	if cold := s.rows("SHOW COLD TABLE " + quoted); len(cold) != 1 {
		t.Errorf("%v", cold)
	}
	if out := product.MustRun(t, binary, nil, "cat", quoted, "--sql-url", u.through(u.db.OwnerURL)); strings.Count(out, "wört") != 40 || !strings.HasPrefix(out, "the Key,ünï,select\n") {
		t.Errorf("cat: %.100q", out)
	}
	audit.Check(t, u.db.SuperURL, "app", name, want)
}

// A16, A14: partitions by the dozen, no primary key, generated and identity columns, one row; each a flush by command.
func TestShapes(t *testing.T) {
	t.Parallel()
	u := shared(t)
	for name, setup := range map[string][]string{
		"parts": {"CREATE TABLE app.parts (id bigint, at date NOT NULL, note text) PARTITION BY RANGE (at)",
			"CREATE TABLE app.parts_a PARTITION OF app.parts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
			"CREATE TABLE app.parts_b PARTITION OF app.parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY HASH (id)",
			"CREATE TABLE app.parts_b0 PARTITION OF app.parts_b FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
			"CREATE TABLE app.parts_b1 PARTITION OF app.parts_b FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
			"INSERT INTO app.parts SELECT i, date '2025-01-01' + i % 700, 'n' || i FROM generate_series(1, 2000) i"},
		"keyless": {"CREATE TABLE app.keyless (a int, b text)", "INSERT INTO app.keyless SELECT 1, 'same' FROM generate_series(1, 500)"},
		"made": {"CREATE TABLE app.made (id int GENERATED ALWAYS AS IDENTITY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED)",
			"INSERT INTO app.made (n) SELECT i FROM generate_series(1, 300) i"},
		"single": {"CREATE TABLE app.single (id int PRIMARY KEY, huge text)", "INSERT INTO app.single VALUES (1, repeat('ten megabytes ', 750000))"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u.db.Exec(t, setup...)
			u.grant("app." + name)
			want := audit.Hot(t, u.db.SuperURL, "app", name, "")
			s := u.owner(t)
			j := s.wait(s.startedBy("FLUSH TABLE app."+name+" WITH ("+small+")").id, "completed")
			if int(j.Rows) != want.Count() || pgtest.Value[int](t, u.db, "SELECT count(*) FROM app."+name) != 0 {
				t.Errorf("%+v, there were %d rows", j, want.Count())
			}
			audit.Check(t, u.db.SuperURL, "app", name, want)
		})
	}
}

// A19
func TestUnrepresentableValue(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "odd_value", 1000)
	u.db.Exec(t, "UPDATE app.odd_value SET amount = 'NaN' WHERE id = 600")
	tb.want = audit.Hot(t, u.db.SuperURL, "app", tb.name, "")
	s := u.owner(t)
	j := s.wait(s.flush(tb, "WITH ("+small+", parallelism = 1)").id, "failed")
	for _, part := range []string{"odd_value", "amount", "600", "NaN"} {
		if !strings.Contains(text(j.Error), part) {
			t.Errorf("the error does not name %s: %s", part, text(j.Error))
		}
	}
	if text(j.Class) != "unrepresentable" || j.Attempt != 1 || j.Rows+tb.hot() != 1000 {
		t.Errorf("%+v, class %s, %d rows hot", j, text(j.Class), tb.hot())
	}
	if n := pgtest.Value[int](t, u.db, "SELECT count(*) FROM app.odd_value WHERE id = 600"); n != 1 {
		t.Error("the row is not hot")
	}
	j = s.wait(s.flush(tb, "WITH ("+small+") WHERE amount <> 'NaN'").id, "completed")
	if tb.hot() != 1 {
		t.Errorf("%+v, %d rows hot", j, tb.hot())
	}
}

// A59: a row whose lock somebody sits on does not hold up the rest, is reported, and moves later.
func TestLockedRow(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "locked_row", 800)
	app := u.db.Connect(t, u.db.OwnerURL)
	_, err := app.Exec(context.Background(), "BEGIN; SELECT FROM app.locked_row WHERE id = 400 FOR UPDATE")
	must(t, err)
	s := u.owner(t)
	j := s.wait(s.flush(tb, "WITH ("+small+")").id, "completed")
	if j.Rows != 799 || j.RowsLeft == nil || *j.RowsLeft != 1 || tb.hot() != 1 {
		t.Errorf("%+v, %d rows hot", j, tb.hot())
	}
	if _, err := app.Exec(context.Background(), "UPDATE app.locked_row SET note = 'mine' WHERE id = 400; COMMIT"); err != nil {
		t.Errorf("the application got %v", err)
	}
	tb.want = audit.Cold(t, u.db.SuperURL, "app", tb.name).Add(audit.Hot(t, u.db.SuperURL, "app", tb.name, ""))
	if j := s.wait(s.flush(tb, "").id, "completed"); j.Rows != 1 {
		t.Errorf("later: %+v", j)
	}
}

// A56, A60: the table changes its shape and its file while it is flushed. No value is lost, and rows_left tells the truth.
func TestTableChangesDuringItsFlush(t *testing.T) {
	t.Parallel()
	u := shared(t)
	for name, change := range map[string]string{
		"changed_column":   "ALTER TABLE app.changed_column ADD COLUMN added text DEFAULT 'new'",
		"changed_file":     "VACUUM FULL app.changed_file",
		"changed_type":     "ALTER TABLE app.changed_type ALTER COLUMN tenant TYPE text",
		"changed_truncate": "TRUNCATE app.changed_truncate",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tb := u.table(t, name, 2000)
			gate := tb.gate("OLD.id = 700")
			s := u.super(t)
			a := s.flush(tb, fire(small, "parallelism = 1"))
			gate.held(a.id, 1)
			owner := u.db.Connect(t, u.db.OwnerURL)
			done := make(chan error, 1)
			go func() {
				_, err := owner.Exec(context.Background(), change)
				done <- err
			}()
			waiting(t, u.db, tb.String())
			gate.open()
			if err := <-done; err != nil {
				t.Errorf("%s: %v", change, err)
			}
			j := s.wait(a.id, "completed")
			if j.RowsLeft == nil || *j.RowsLeft != tb.hot() {
				t.Errorf("rows_left %v, %d rows are hot", j.RowsLeft, tb.hot())
			}
			switch name {
			case "changed_truncate": // what was hot is gone, as its owner wanted
				tb.want = nil
				if j.Rows < 700 || j.Rows >= 2000 || audit.Cold(t, u.db.SuperURL, "app", name).Count() != int(j.Rows) {
					t.Errorf("%+v", j)
				}
			case "changed_file":
				if j.Rows != 2000 {
					t.Errorf("%+v", j)
				}
			default: // rows look different now; count them, and the new column's values
				tb.want = nil
				cold := audit.Cold(t, u.db.SuperURL, "app", name)
				added := 0
				for row, n := range cold {
					if strings.HasSuffix(row, "\x1fnew") {
						added += n
					}
				}
				if j.Rows != 2000 || cold.Count() != 2000 || name == "changed_column" && (added == 0 || added == 2000) {
					t.Errorf("%+v, %d rows cold, %d with the new column", j, cold.Count(), added)
				}
				if n := pgtest.Value[int](t, u.db, "SELECT count(DISTINCT schema_version) FROM spillway.segments WHERE table_name = $1", name); n != 2 {
					t.Errorf("%d schema versions", n)
				}
			}
		})
	}
}
