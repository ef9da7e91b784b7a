package flush_test

import (
	"context"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// daysOf is app.t in partitions of a day, which are owned by the worker's role or not.
func daysOf(t *testing.T, mayVacuum bool) *rig {
	t.Helper()
	db := pgtest.Database(t)
	setup := partitions(3)
	switch {
	case mayVacuum && db.Server.Binaries().Major >= 17:
		setup = append(setup, "GRANT MAINTAIN ON app.t1, app.t2, app.t3 TO "+db.Worker)
	case mayVacuum:
		db.Super(t, "GRANT "+db.Owner+" TO "+db.Worker)
	}
	return newRigOn(t, db, "", append(setup, `INSERT INTO app.t SELECT i, '2020-01-02'::timestamptz + i * interval '1 minute', repeat('n', 100) FROM generate_series(0, 4319) i`, "ANALYZE app.t",
		"ALTER TABLE app.t1 SET (autovacuum_enabled = off)", "ALTER TABLE app.t2 SET (autovacuum_enabled = off)", "ALTER TABLE app.t3 SET (autovacuum_enabled = off)")...)
}

func (r *rig) sizes() []int64 {
	r.t.Helper()
	return pgtest.Value[[]int64](r.t, r.db, "SELECT array_agg(pg_relation_size(oid) ORDER BY relname) FROM pg_class WHERE relname IN ('t1', 't2', 't3')")
}

// Which leaves are vacuumed: those of which no row stays, or as the option says. The space is given back.
func TestVacuumOfEmptiedPartitions(t *testing.T) { // A16
	t.Parallel()
	first := "at < '2020-01-03 00:00:00+00'::timestamp with time zone"
	for name, c := range map[string]struct {
		params  map[string]string
		emptied [3]bool // of its file
		owner   bool
		planned bool
	}{
		"all rows":        {nil, [3]bool{true, true, true}, true, true},
		"one partition":   {map[string]string{"where": first}, [3]bool{true, false, false}, true, true},
		"older than":      {map[string]string{"older_than": "1 day", "age_column": "at"}, [3]bool{true, true, true}, true, true},
		"part of one":     {map[string]string{"where": "at < '2020-01-02 12:00:00+00'::timestamp with time zone"}, [3]bool{}, true, false},
		"said for part":   {map[string]string{"where": "at >= '2020-01-02 12:00:00+00'::timestamp with time zone AND at < '2020-01-03'::timestamp with time zone", "vacuum": "true"}, [3]bool{}, true, true},
		"never":           {map[string]string{"vacuum": "false"}, [3]bool{}, true, false},
		"without a right": {nil, [3]bool{}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := daysOf(t, c.owner)
			r.params = c.params
			j := r.newJob()
			if j.plan.Vacuum != c.planned {
				t.Errorf("planned: %v, want %v", j.plan.Vacuum, c.planned)
			}
			before := r.sizes()
			j.run()
			for i, size := range r.sizes() {
				if size > before[i] || (size == 0) != c.emptied[i] {
					t.Errorf("partition %d has %d bytes, had %d", i+1, size, before[i])
				}
			}
			if name == "without a right" {
				v, err := flush.NewSurveyor(r.hot, r.ledger).Survey(t.Context(), "app", "t", nil)
				if err != nil || len(v.Leaves) != 3 || v.Leaves[0].Table.MayVacuum {
					t.Errorf("%+v, %v", v, err)
				}
			}
		})
	}
}

// A VACUUM that waits for another one ends with its job, and gives its backend up.
func TestVacuumIsKilled(t *testing.T) { // A29
	t.Parallel()
	r := daysOf(t, true)
	j := r.newJob()
	if err := j.chunks(&j.plan); err != nil {
		t.Fatal(err)
	}
	app := r.db.Connect(t, r.db.OwnerURL)
	if _, err := app.Exec(t.Context(), "BEGIN; LOCK TABLE app.t1 IN SHARE UPDATE EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	ctx, kill := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.f.Vacuum(ctx, j.id) }()
	waits := func() bool {
		return pgtest.Value[bool](t, r.db, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'app.t1'::regclass)")
	}
	settle(t, waits)
	kill()
	if err := <-done; jobstep.ClassOf(err).Name != jobstep.ClassCancelled {
		t.Errorf("%v", err)
	}
	settle(t, func() bool { return !waits() })
	if _, err := app.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	// Called again, it does the work.
	if err := r.f.Vacuum(t.Context(), j.id); err != nil || r.sizes()[0] != 0 {
		t.Errorf("%v, %v", err, r.sizes())
	}
	left := int64(0)
	j.finish("completed", &left)
}
