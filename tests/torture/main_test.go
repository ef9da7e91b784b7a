package torture

import (
	"flag"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
	"github.com/spillwaydb/spillway/tests/product"
)

// The flags of a run. Without them the tests take their short forms.
var (
	duration = flag.Duration("duration", 25*time.Second, "how long TestTorture goes on, whole runs at a time")
	runTime  = flag.Duration("run", 10*time.Minute, "how long a run with one seed may last")
	roundLen = flag.Duration("round", 12*time.Second, "how long faults go on between two audits")
	firstOf  = flag.Uint64("seed", 0, "the first run's seed; the next ones follow it. 0 is one made at random")
	aimFlag  = flag.String("aim", "all", "which faults: all, kills, worker, temporal, postgres, front, network or storage")
	results  = flag.String("results", "", "file to which each run appends a line of JSON")
	breath   = flag.Duration("breath", 4*time.Millisecond, "rest of a client between two statements")
	soakFor  = flag.Duration("soak", 40*time.Second, "how long TestSoak goes on")
	profiles = flag.String("profiles", "", "folder to which TestSoak writes heap profiles, five of them over its time")
	pace     = flag.Duration("pace", 1500*time.Millisecond, "mean time between two faults")
)

var binary string

func TestMain(m *testing.M) { product.Main(m, &binary, cloudtest.SetKeys) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
