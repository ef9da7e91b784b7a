package flush_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// partitions makes app.t with n partitions of a day each, the last of which has rows.
func partitions(n int) []string {
	return []string{
		"CREATE TABLE app.t (id bigint, at timestamptz NOT NULL, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
		fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP
			EXECUTE format('CREATE TABLE app.t%%s PARTITION OF app.t FOR VALUES FROM (%%L) TO (%%L)', i, '2020-01-01'::timestamptz + i * interval '1 day', '2020-01-02'::timestamptz + i * interval '1 day');
		END LOOP; END $$`, n),
	}
}

// One row in each partition, so that none can be left out.
const sprinkle = `INSERT INTO app.t SELECT i, '2020-01-01 12:00'::timestamptz + i * interval '1 day', 'n' FROM generate_series(1, %d) i`

// BenchmarkPlan is how long planning and EXPLAIN FLUSH take for a table of a thousand partitions:
//
//	go test ./internal/flush -run '^$' -bench Plan -benchtime 3x
func BenchmarkPlan(b *testing.B) {
	const n = 1000
	r := newRig(b, append(partitions(n), fmt.Sprintf(sprinkle, n), "ANALYZE app.t")...)
	age := map[string]string{"older_than": "1 day", "age_column": "at"}
	for name, params := range map[string]map[string]string{"all": {}, "older": age} {
		b.Run(name, func(b *testing.B) {
			r.params = params
			for b.Loop() {
				j := &job{rig: r, id: "flush:app.t:" + uuid.NewString(), request: r.request()}
				if _, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 1}); err != nil {
					b.Fatal(err)
				}
				j.finish("failed", nil)
			}
		})
	}
	b.Run("explain", func(b *testing.B) {
		s := flush.NewSurveyor(r.hot, r.ledger)
		for b.Loop() {
			if _, err := s.Survey(context.Background(), "app", "t", age); err != nil {
				b.Fatal(err)
			}
		}
	})
}
