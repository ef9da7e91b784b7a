package torture

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
	"github.com/spillwaydb/spillway/tests/await"
)

const (
	tablesOfRun  = 6
	clientsOfRun = 3
)

// A11, A12, A13, A18, A26, A29, A30, A31, A33, A34, A35, A36, A37: everything at once, for as long as -duration says.
func TestTorture(t *testing.T) {
	seed := *firstOf
	if seed == 0 {
		seed = rand.Uint64N(1 << 40)
	}
	end := time.Now().Add(*duration)
	for n := 0; n == 0 || time.Now().Before(end) && !t.Failed(); n++ {
		t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) { torture(t, seed, *aimFlag, end) })
		seed++
	}
}

// result is a line of the file of results.
type result struct {
	Seed     uint64           `json:"seed"`
	Aim      string           `json:"aim"`
	Storage  string           `json:"storage"`
	Began    string           `json:"began"`
	Seconds  int64            `json:"seconds"`
	Rounds   int              `json:"rounds"`
	Moved    int64            `json:"rows_moved"`
	Restored int64            `json:"rows_restored"`
	Judged   int64            `json:"rows_judged"`
	Losses   int64            `json:"losses"`
	Doubles  int64            `json:"doubles"`
	Failures []string         `json:"failures"`
	Counts   map[string]int64 `json:"counts"`
}

// torture is one run. It ends after -run, or at end if that comes first.
func torture(t *testing.T, seed uint64, aim string, end time.Time) {
	began := time.Now()
	s3 := seed%3 == 0
	if s3 {
		if _, err := cloudtest.Tool("versitygw"); err != nil {
			t.Logf("a folder in place of a bucket: versitygw is missing: %v", err)
			s3 = false
		}
	}
	t.Logf("seed %d, aim %s; go test ./tests/torture -run TestTorture -seed %d -aim %s does the same again", seed, aim, seed, aim)
	g := newRig(t, options{seed: seed, s3: s3, workers: 2})
	g.addTables(tablesOfRun)
	var clients []*client
	for n := range clientsOfRun {
		url := func() string { return g.db.OwnerURL }
		if n%2 == 0 {
			url = func() string { return g.front(g.db.OwnerURL) }
		}
		if n == 2 { // reads the ledger too, past the rights of owners
			url = func() string { return g.db.SuperURL }
		}
		clients = append(clients, newClient(g, n+1, url))
	}
	rounds := 0
	for ok := true; ok && g.failed() == 0; ok = time.Now().Before(end) && time.Since(began) < *runTime {
		rounds++
		g.round(uint64(rounds), aim, clients)
		t.Logf("round %d: %d rows moved, %d restored, %d workers killed, %d losses, %d doubles", rounds, g.of("rows moved"), g.of("rows restored"),
			g.of("kill -9 worker"), g.of("losses"), g.of("doubles"))
	}
	g.write(aim, began, rounds)
}

// round plays faults, jobs and clients against one another, then lets everything come to rest and judges.
func (g *rig) round(n uint64, aim string, clients []*client) {
	stop, stopFaults := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() { c.run(n, stop) })
	}
	all.Go(func() { (&operator{g: g}).run(n, stop) })
	g.byThemselves(true)
	g.inflict(n, aim, time.Now().Add(*roundLen), stopFaults)
	g.calm()
	close(stop)
	all.Wait()
	g.byThemselves(false)
	g.settle(rand.New(rand.NewPCG(g.seed, n<<8|254)).IntN(2) == 0)
	g.judge(clients)
	g.forget()
}

// byThemselves gives one table a policy and another one a schedule, or takes them away. Where this version of the front-end knows
// neither (0A000), the results say so.
func (g *rig) byThemselves(on bool) {
	o := &operator{g: g}
	defer o.close()
	first, second := g.tables[0], g.tables[1]
	statements := []string{fmt.Sprintf("ALTER TABLE %s RESET FLUSH POLICY", first), "DROP SCHEDULE torture"}
	if on {
		statements = []string{fmt.Sprintf("ALTER TABLE %s SET FLUSH POLICY (rows = 300, interval = '2 seconds')", first),
			fmt.Sprintf("CREATE SCHEDULE torture FOR FLUSH TABLE %s EVERY '3 seconds'", second)}
	}
	for _, statement := range statements {
		settled := await.Within(patience, func() bool {
			code := o.try(statement)
			switch code {
			case "0A000":
				g.count("not there yet: "+strings.Join(strings.Fields(statement)[:2], " "), 1)
			case "", "42704", "42710": // done, or done by the try before whose answer was lost
			default:
				return on // faults are under way: the next round tries again
			}
			return true
		})
		if !settled {
			g.fail("%s does not succeed", statement)
		}
	}
}

// write appends the run's line of results.
func (g *rig) write(aim string, began time.Time, rounds int) {
	storage := "folder"
	switch {
	case g.s3 != nil:
		storage = "s3"
	case g.disk != "":
		storage = "tmpfs"
	}
	r := result{
		Seed: g.seed, Aim: aim, Storage: storage, Began: began.UTC().Format(time.RFC3339), Seconds: int64(time.Since(began).Seconds()), Rounds: rounds,
		Moved: g.of("rows moved"), Restored: g.of("rows restored"), Judged: g.of("rows judged"), Losses: g.of("losses"), Doubles: g.of("doubles"),
		Failures: append([]string{}, g.failures...), Counts: g.counts,
	}
	line, err := json.Marshal(r)
	must(g.t, err)
	g.t.Logf("%s", strings.ReplaceAll(string(line), `","`, `", "`))
	if *results == "" {
		return
	}
	f, err := os.OpenFile(*results, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(g.t, err)
	_, err = f.Write(append(line, '\n'))
	must(g.t, err)
	must(g.t, f.Close())
}
