package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	sdk "go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/product"
)

// figure is something that must not grow while a process flushes on and on.
type figure struct {
	name  string
	share float64 // growth over the second half that is allowed, of the mean
	more  float64 // and this much besides
	short float64 // what it may come to in a run that is too short to tell growth from chance
	told  bool    // only told: it grows by design, until a retention takes its end away
}

// telling is how long a run takes whose lines tell: autovacuum has come to each table more than once.
const telling = 5 * time.Minute

var figures = []figure{
	{name: "resident memory, MB", share: 0.10, more: 12},
	{name: "heap in use, MB", share: 0.25, more: 12},
	{name: "goroutines", share: 0.05, more: 8},
	{name: "file descriptors", share: 0.05, more: 6},
	{name: "connections to PostgreSQL", share: 0.10, more: 3},
	{name: "longest workflow history, events", share: 0.10, more: 20, short: 1000}, // it follows the size of the table, until autovacuum comes
	{name: "running workflows", share: 0, more: 3},
	{name: "files that no segment explains", share: 0, more: 2, short: 6}, // as many are under way at once; the audit at the end wants none
	{name: "files of the data directory, segments left out", share: 0, more: 3},
	{name: "Temporal's store, MB", told: true},
	{name: "ledger, MB", told: true},
	{name: "segments", told: true},
}

// soak is one `up` that flushes without a pause.
type soak struct {
	t       testing.TB
	db      *pgtest.DB
	up      *unit
	dir     string
	sql     string
	storage string
	client  sdk.Client

	mu   sync.Mutex
	jobs int
	rows int64

	warm sync.WaitGroup // until each table has been through its first restore
}

// TestSoak flushes for -soak without a pause, samples what must not grow, and fits a line through the second half.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for n := range 2 {
		s.warm.Add(1)
		all.Go(func() {
			warm := sync.OnceFunc(s.warm.Done)
			defer warm() // also where it fails
			s.work(n, stop, warm)
		})
	}
	s.warm.Wait() // from here on one time is like another
	began, every := time.Now(), max(*soakFor/200, time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var at []float64
	samples := make([][]float64, len(figures))
	for quarter := 0; time.Since(began) < *soakFor && !t.Failed(); {
		<-tick.C
		if time.Since(began) >= *soakFor*time.Duration(quarter)/4 {
			s.keepHeap(quarter)
			quarter++
		}
		at = append(at, time.Since(began).Minutes())
		for i, v := range s.sample() {
			samples[i] = append(samples[i], v)
		}
	}
	s.keepHeap(4)
	close(stop)
	all.Wait()
	s.report(at, samples)
	for n := range 2 {
		want := audit.Hot(t, s.db.SuperURL, "app", fmt.Sprintf("all_%d", n), "")
		audit.Check(t, s.db.SuperURL, "app", fmt.Sprintf("soak_%d", n), want)
	}
	audit.Storage(t, s.db.SuperURL, s.storage)
}

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, db: pgtest.Database(t), dir: folder(t), sql: address(t)}
	args := []string{"grants", "--restore", "--database-url", s.db.SuperURL, "--role", s.db.Worker, "--reader", s.db.Owner}
	for n := range 2 {
		s.db.Exec(t, fmt.Sprintf("CREATE TABLE app.soak_%d (id bigint GENERATED ALWAYS AS IDENTITY, note text)", n), fmt.Sprintf("CREATE TABLE app.all_%d (id bigint, note text)", n))
		args = append(args, "--for", fmt.Sprintf("app.soak_%d", n))
	}
	s.db.Super(t, product.MustRun(t, binary, nil, args...))
	metrics, temporal := address(t), address(t)
	s.storage = filepath.Join(s.dir, "segments")
	s.up = supervise(t, "up", folder(t), metrics, "up", "--data-dir", s.dir, "--database-url", s.db.WorkerURL, "--sql-listen", s.sql,
		"--temporal-listen", temporal, "--ui-listen", "127.0.0.1:0", "--metrics-listen", metrics, "--pprof")
	g := &rig{t: t}
	g.await("up is ready", s.up.ready)
	c, err := sdk.Dial(sdk.Options{HostPort: temporal, Logger: silent{}})
	must(t, err)
	t.Cleanup(c.Close)
	s.client = c
	return s
}

// same fails unless the table holds exactly the rows that were ever written to it, once everything is hot again.
const same = `DO $$ DECLARE n bigint; BEGIN
	SELECT count(*) INTO n FROM (SELECT id, note, count(*) FROM app.soak_%[1]d GROUP BY 1, 2 EXCEPT SELECT id, note, 1 FROM app.all_%[1]d) x;
	IF n > 0 OR (SELECT count(*) FROM app.soak_%[1]d) <> (SELECT count(*) FROM app.all_%[1]d) THEN
		RAISE EXCEPTION 'rows differ: %%, %% there, %% written', n, (SELECT count(*) FROM app.soak_%[1]d), (SELECT count(*) FROM app.all_%[1]d);
	END IF;
END $$`

// work fills one table and flushes it, again and again; every tenth time all comes back, is compared, and goes, so that a
// restore is always among the newest jobs and what it has to do stays the same.
// warm is called when that has happened once.
func (s *soak) work(n int, stop <-chan struct{}, warm func()) {
	ctx := context.Background()
	u, err := url.Parse(s.db.OwnerURL)
	if err != nil {
		s.t.Error(err)
		return
	}
	u.Host = s.sql
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		s.t.Errorf("connect: %v", err)
		return
	}
	defer conn.Close(ctx)
	for i := 1; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		statements := []string{
			fmt.Sprintf(`WITH new AS (INSERT INTO app.soak_%[1]d (note) SELECT repeat(md5(i::text), 6) FROM generate_series(1, 500) i RETURNING id, note)
				INSERT INTO app.all_%[1]d SELECT id, note FROM new`, n),
			fmt.Sprintf("FLUSH TABLE app.soak_%d WITH (chunk_bytes = '64kB', parallelism = 2, wait = true)", n),
		}
		if i%10 == 0 { // VACUUM as autovacuum would, but in time: a flush has a chunk for each 64 kB of the table, empty ones too
			statements = append(statements, fmt.Sprintf("RESTORE TABLE app.soak_%d WITH (wait = true)", n), fmt.Sprintf(same, n),
				fmt.Sprintf("DELETE FROM app.soak_%d", n), fmt.Sprintf("DELETE FROM app.all_%d", n), fmt.Sprintf("VACUUM app.soak_%d", n), fmt.Sprintf("VACUUM app.all_%d", n))
		}
		for _, statement := range statements {
			if _, err := conn.Exec(ctx, statement); err != nil {
				s.t.Errorf("%.40s: %v", statement, err)
				return
			}
		}
		if i%10 == 0 {
			warm()
		}
		s.mu.Lock()
		s.jobs++
		if i%10 == 0 {
			s.jobs++
		}
		s.rows += 500
		s.mu.Unlock()
		pause(stop, 300*time.Millisecond) // steady, not as fast as it can
	}
}

// keepHeap writes a profile of the heap into the folder of -profiles.
func (s *soak) keepHeap(quarter int) {
	if *profiles == "" {
		return
	}
	text, err := s.up.get("/debug/pprof/heap?gc=1")
	must(s.t, err)
	must(s.t, os.WriteFile(filepath.Join(*profiles, fmt.Sprintf("heap-%d.pprof", quarter)), text, 0o644))
}

// sample reads the figures, in their order.
func (s *soak) sample() []float64 {
	v, ok := s.up.vitals()
	if !ok {
		s.t.Errorf("up does not tell how it is")
	}
	const mb = 1 << 20
	known := pgtest.Value[int](s.t, s.db, "SELECT count(*)::int FROM spillway.segments")
	live := pgtest.Value[int](s.t, s.db, "SELECT count(*)::int FROM spillway.attempts")
	longest, running := s.histories()
	files, others, store := s.files()
	return []float64{
		float64(v.memory) / mb, float64(v.heap) / mb, float64(v.goroutines), float64(v.fds),
		float64(pgtest.Value[int](s.t, s.db, "SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'spillway%'")),
		float64(longest), float64(running), float64(max(files-known-live, 0)), float64(others), float64(store) / mb,
		float64(pgtest.Value[int64](s.t, s.db, "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relnamespace = 'spillway'::regnamespace AND relkind = 'r'")) / mb,
		float64(known),
	}
}

// histories finds the longest history of the newest workflows, and how many run.
func (s *soak) histories() (longest int64, running int) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	list, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{PageSize: 50})
	if err != nil {
		s.t.Errorf("list workflows: %v", err)
		return 0, 0
	}
	for _, e := range list.Executions {
		if e.Status == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
			running++
		}
		if d, err := s.client.DescribeWorkflowExecution(ctx, e.Execution.WorkflowId, e.Execution.RunId); err == nil {
			longest = max(longest, d.WorkflowExecutionInfo.HistoryLength)
		}
	}
	return longest, running
}

// files counts objects of the storage but for manifests and markers, and the other files of the data directory.
func (s *soak) files() (objects, others int, store int64) {
	_ = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() { // files come and go meanwhile
			return nil
		}
		switch rel, _ := filepath.Rel(s.storage, path); {
		case filepath.IsLocal(rel) && filepath.Ext(path) == ".parquet":
			objects++
		case !filepath.IsLocal(rel):
			others++
			if info, err := d.Info(); err == nil {
				store += info.Size()
			}
		}
		return nil
	})
	return objects, others, store
}

// line is the least-squares line through points.
func line(x, y []float64) (slope, mean float64) {
	n := float64(len(x))
	var sx, sy, sxx, sxy float64
	for i := range x {
		sx, sy, sxx, sxy = sx+x[i], sy+y[i], sxx+x[i]*x[i], sxy+x[i]*y[i]
	}
	if d := n*sxx - sx*sx; d != 0 {
		slope = (n*sxy - sx*sy) / d
	}
	return slope, sy / n
}

// report tells each figure's line, and fails for those that grow.
func (s *soak) report(at []float64, samples [][]float64) {
	half := len(at) / 2
	if half < 3 {
		s.t.Fatal("too few samples")
	}
	span := at[len(at)-1] - at[half]
	type row struct {
		Figure  string  `json:"figure"`
		First   float64 `json:"first"`
		Mean    float64 `json:"mean_of_second_half"`
		Last    float64 `json:"last"`
		PerHour float64 `json:"slope_per_hour"`
	}
	var rows []row
	grew := []string{}
	for i, f := range figures {
		slope, mean := line(at[half:], samples[i][half:])
		rows = append(rows, row{f.name, samples[i][0], mean, samples[i][len(at)-1], slope * 60})
		s.t.Logf("%-48s first %9.1f, second half %9.1f on average, last %9.1f, %+9.2f an hour", f.name, samples[i][0], mean, samples[i][len(at)-1], slope*60)
		if grown := slope * span; !f.told && grown > mean*f.share+f.more && (*soakFor >= telling || slices.Max(samples[i]) > f.short) {
			grew = append(grew, f.name)
			s.t.Errorf("%s grew by %.1f in %.1f minutes", f.name, grown, span)
		}
	}
	s.t.Logf("%d jobs, %d rows written in %.1f minutes", s.jobs, s.rows, at[len(at)-1])
	if *results == "" {
		return
	}
	text, err := json.Marshal(map[string]any{"soak": true, "minutes": at[len(at)-1], "jobs": s.jobs, "rows": s.rows, "samples": len(at), "figures": rows, "grew": grew})
	must(s.t, err)
	f, err := os.OpenFile(*results, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(s.t, err)
	_, err = f.Write(append(text, '\n'))
	must(s.t, err)
	must(s.t, f.Close())
}

// silent keeps the SDK's own log away.
type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}
