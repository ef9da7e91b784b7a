package flush_test

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
)

// A21: the worker's memory does not grow with the number of distinct values in a flush. `make many-values` runs it with
// 100 000 of them and prints what it took.
func TestMemoryOfManyValues(t *testing.T) {
	values := 2000
	if text := os.Getenv("SPILLWAY_MANY_VALUES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		values = n
	}
	r := newRig(t, events, "INSERT INTO app.t SELECT i, i % "+itoa(values)+", repeat('note ' || i, 5), i / 100.0, '2026-01-01'::timestamptz + i * interval '1 min' FROM generate_series(1, "+itoa(3*values)+") i")
	r.want = nil // the audit would hold all rows; counts and sums are compared instead
	sum := pgtest.Value[int64](t, r.db, "SELECT sum(id) FROM app.t")
	r.params = map[string]string{"partition_by": "tenant", "path": "{namespace}/{table}/{shard}/{column:tenant}"}
	j := r.newJob()
	debug.FreeOSMemory() // or the set-up's memory would count as idle
	idle := heldBytes()
	peak, done := idle, make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				peak = max(peak, heldBytes())
			}
		}
	}()
	began := time.Now()
	res, _ := j.run()
	took := time.Since(began)
	close(done)
	<-stopped
	t.Logf("%d values, %d rows, %d chunks, %d files in %.1f s (%.0f files/s), %d MB above idle at most", values, res.Rows, j.plan.Chunks, res.Segments, took.Seconds(),
		float64(res.Segments)/took.Seconds(), (peak-idle)>>20)
	if res.Rows != int64(3*values) || res.Segments < int64(values) || r.hotCount() != 0 {
		t.Errorf("%+v, %d rows hot", res, r.hotCount())
	}
	if above := peak - idle; above > 200<<20 {
		t.Errorf("%d MB above idle, at most 200 are allowed", above>>20)
	}
	if cold := audit.Sum(t, r.db.SuperURL, "app", "t", "id"); cold != sum {
		t.Errorf("the cold ids sum up to %d, the hot ones did to %d", cold, sum)
	}
}

// heldBytes is what the process holds of the system's memory, by Go's own account.
func heldBytes() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}
