package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/cold"
	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/progress"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

// errProof is the end of a demo whose rows do not add up.
var errProof = errors.New("the proof does not hold")

// demo shows the product to somebody who has never seen it, and proves what it promises.
type demo struct {
	env  *Env
	rows int
	keep bool

	dir    string
	step   int
	client *sqlclient.Client
	all    cold.Digest // of every row that was inserted

	beforeProof func(files []string) // for tests: what happens to the files before they are counted
}

func newDemo(env *Env) *cobra.Command {
	d := demo{env: env}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a table, three flushes, one killed, and the proof",
		Long: `Run everything in a temporary folder: a private PostgreSQL, Temporal, a table of events. Flush a part of it, kill a second
flush in the middle, let a third one finish. Then count the rows in the files and in the table, and compare them with what was
inserted: exit code 0 only if each row is there exactly once.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	cmd.Flags().IntVar(&d.rows, "rows", 200_000, "how many events to insert")
	cmd.Flags().BoolVar(&d.keep, "keep", false, "keep the folder with the files")
	return cmd
}

func (d *demo) run(ctx context.Context) (err error) {
	if d.rows < 1 {
		return fail.Usagef("--rows %d: expected 1 or more", d.rows)
	}
	if d.dir, err = demoFolder(); err != nil {
		return err
	}
	defer func() {
		if !d.keep {
			err = errors.Join(err, os.RemoveAll(d.dir))
		}
	}()
	n, err := d.start(ctx)
	if err != nil {
		return err
	}
	defer n.abandon(ctx)
	for _, step := range []func(context.Context) error{d.fill, d.firstFlush, d.killedFlush, d.lastFlush, d.history, d.prove} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	d.farewell()
	return nil
}

// demoFolder makes the folder. Others may enter it, because PostgreSQL does not run as root; what is secret in it is not
// readable to them.
func demoFolder() (string, error) {
	dir, err := os.MkdirTemp("", "spillway-demo-")
	if err != nil {
		return "", fmt.Errorf("demo folder: %w", err)
	}
	return dir, os.Chmod(dir, 0o755)
}

// start runs what `spillway up` runs, on free ports.
func (d *demo) start(ctx context.Context) (*node, error) {
	d.title("Start a private PostgreSQL, a Temporal server and Spillway, all in one process")
	began := time.Now()
	// No environment: TEMPORAL_ADDRESS must not lead the demo to somebody's cluster.
	env := &Env{Stdout: io.Discard, Stderr: d.env.Stderr, LookupEnv: noEnv, Environ: func() []string { return nil }, last: d.env.last}
	n, err := newNode(env, &serverOptions{
		dataDir: d.dir, ledgerSchema: "spillway", systemSchema: "system", temporalStore: "sqlite",
		sqlListen: "127.0.0.1:0", temporalListen: "127.0.0.1:0", uiListen: "127.0.0.1:0",
		slots: 2, retention: defaultRetention, shutdownTimeout: 10 * time.Second, logLevel: "error", logFormat: "text",
	})
	if err != nil {
		return nil, err
	}
	up, err := n.startUp(ctx)
	if err != nil {
		n.abandon(ctx)
		return nil, err
	}
	// The digest compares texts, so the session prints values as segments do.
	pinned := up.SQLURL + "&datestyle=ISO&timezone=UTC&extra_float_digits=1&bytea_output=hex"
	if d.client, err = sqlclient.Dial(ctx, pinned); err != nil {
		n.abandon(ctx)
		return nil, err
	}
	n.started("demo's client", func(context.Context) error { d.client.Close(); return nil })
	d.say("ready after %.1f s in %s", time.Since(began).Seconds(), d.dir)
	d.say("Temporal Web UI, while this runs: %s", up.UIURL)
	return n, nil
}

func noEnv(string) (string, bool) { return "", false }

func (d *demo) fill(ctx context.Context) error {
	d.title("Make a table of events, one year of them")
	create := `CREATE TABLE app.events (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id  int NOT NULL,
  user_id    uuid NOT NULL,
  kind       text NOT NULL,
  amount     numeric(12,2) NOT NULL,
  payload    jsonb NOT NULL,
  created_at timestamptz NOT NULL,
  note       text
)`
	insert := fmt.Sprintf(`INSERT INTO app.events (tenant_id, user_id, kind, amount, payload, created_at, note)
SELECT 1 + i::bigint * 7919 %% 500, md5((i::bigint * 31 %% 5000)::text)::uuid, (ARRAY['view','click','login','purchase','refund'])[1 + i %% 5],
       round((random() * 1000)::numeric, 2), jsonb_build_object('page', '/item/' || i %% 1000, 'ms', i %% 900),
       timestamptz '2025-01-01 00:00Z' + i * interval '364 days' / %[1]d, CASE WHEN i %% 10 > 0 THEN 'event number ' || i END
FROM generate_series(1, %[1]d) AS i`, d.rows)
	for _, s := range []string{create, insert, "ANALYZE app.events"} {
		if err := d.sql(ctx, s, nil); err != nil {
			return err
		}
	}
	if err := d.client.Run(ctx, "SELECT * FROM app.events", &d.all); err != nil {
		return err
	}
	d.say("%s rows; their content as one number: %s", show.Groups(strconv.FormatInt(d.all.Rows, 10)), d.all.String())
	return nil
}

// chunkBytes cuts the table into about 24 chunks, so that there is something to see.
func (d *demo) chunkBytes() int { return max(64<<10, d.rows*180/24) }

func (d *demo) flushSQL(before string, parallelism int) string {
	return fmt.Sprintf("FLUSH TABLE app.events WITH (chunk_bytes = %d, parallelism = %d) WHERE created_at < '%s'", d.chunkBytes(), parallelism, before)
}

func (d *demo) firstFlush(ctx context.Context) error {
	d.title("Flush the first half of the year: the rows move to Parquet files")
	id, err := d.flush(ctx, d.flushSQL("2025-07-01", 2))
	if err != nil {
		return err
	}
	return d.follow(ctx, id, "completed")
}

func (d *demo) killedFlush(ctx context.Context) error {
	d.title("Start a second flush, and kill it in the middle")
	id, err := d.flush(ctx, d.flushSQL("2025-12-24", 1))
	if err != nil {
		return err
	}
	// In the middle: a few of its segments are registered, and it has not ended.
	middle := "SELECT (SELECT count(*) FROM system.segments WHERE job_id = " + sqlclient.Literal(id) + ") AS segments, status, finished_at FROM system.jobs WHERE job_id = " + sqlclient.Literal(id)
	for {
		rows, err := d.client.Rows(ctx, middle)
		if err != nil {
			return err
		}
		if len(rows) != 1 || rows[0]["finished_at"] != "" {
			break
		}
		if n, err := strconv.Atoi(rows[0]["segments"]); err != nil || n >= 3 {
			break
		}
	}
	if err := d.sql(ctx, "KILL JOB "+sqlclient.Literal(id), nil); err != nil {
		var refused *sqlclient.StatementError
		if !errors.As(err, &refused) {
			return err
		}
		d.say("the flush was faster than the KILL: %s", refused.Err.Message)
	}
	if err := d.follow(ctx, id, ""); err != nil {
		return err
	}
	d.say("What it had moved is cold and stays cold; the rest is hot, and nothing holds a lock on it:")
	return d.sql(ctx, "SELECT count(*) AS rows_still_hot FROM app.events", newTable(d.env))
}

func (d *demo) lastFlush(ctx context.Context) error {
	d.title("Flush again: it takes what the killed one left, and the last week of the year stays hot")
	id, err := d.flush(ctx, d.flushSQL("2025-12-24", 2))
	if err != nil {
		return err
	}
	return d.follow(ctx, id, "completed")
}

func (d *demo) history(ctx context.Context) error {
	d.title("Look at the jobs, with SQL")
	return d.sql(ctx, `SELECT right(job_id, 12) AS job, status, rows_flushed, segments, bytes_written, finished_at - created_at AS took
FROM system.jobs ORDER BY created_at`, newTable(d.env))
}

// files lists the registered segments of the table.
func (d *demo) files(ctx context.Context) ([]string, error) {
	segments, err := cold.Files(ctx, d.client, "app.events")
	paths := make([]string, len(segments))
	for i, s := range segments {
		paths[i] = s.Name
	}
	return paths, err
}

func (d *demo) prove(ctx context.Context) error {
	d.title("Prove it: read the files, and compare hot + cold with what was inserted")
	files, err := d.files(ctx)
	if err != nil {
		return err
	}
	d.listFiles(files)
	if d.beforeProof != nil {
		d.beforeProof(files)
	}
	var inFiles, inTable cold.Digest
	missing := 0
	for _, f := range files {
		if err := inFiles.AddFile(ctx, f); err != nil {
			missing++
			d.say("cannot be read: %v", err)
		}
	}
	if err := d.client.Run(ctx, "SELECT * FROM app.events", &inTable); err != nil {
		return err
	}
	sum := inTable.Plus(inFiles)
	for _, line := range []struct {
		name string
		d    *cold.Digest
	}{{"inserted", &d.all}, {"cold: read from the files", &inFiles}, {"hot: SELECT * FROM app.events", &inTable}, {"hot + cold", &sum}} {
		d.say("%-30s %12s rows   content %s", line.name, show.Groups(strconv.FormatInt(line.d.Rows, 10)), line.d.String())
	}
	if missing > 0 || !sum.Equal(d.all) {
		return fmt.Errorf("%w: %s rows were inserted, %s are there", errProof,
			show.Groups(strconv.FormatInt(d.all.Rows, 10)), show.Groups(strconv.FormatInt(sum.Rows, 10)))
	}
	d.say("The proof holds: every row is in the table or in a file, exactly once, with every value as it was inserted.")
	return nil
}

// listFiles shows the folder of the table, a few files of many.
func (d *demo) listFiles(files []string) {
	const shown = 4
	total := int64(0)
	for i, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			continue // the proof will say so
		}
		total += info.Size()
		if i < shown {
			name, err := filepath.Rel(d.dir, f)
			if err != nil {
				name = f
			}
			d.say("%9s  %s", show.Bytes(strconv.FormatInt(info.Size(), 10)), name)
		}
	}
	if len(files) > shown {
		d.say("… and %d more", len(files)-shown)
	}
	d.say("%d files, %s, and a manifest.json that lists them", len(files), show.Bytes(strconv.FormatInt(total, 10)))
}

// farewell says how to go on.
func (d *demo) farewell() {
	d.title("Read cold rows yourself")
	dir := d.dir
	if !d.keep {
		d.say("This folder goes away now. Run `spillway demo --keep` to keep it; then:")
		dir = "<folder>"
	} else {
		d.say("The folder stays: %s", d.dir)
	}
	d.say("")
	d.say("  duckdb -c \"SELECT kind, count(*) FROM read_parquet('%s/segments/app/events/**/*.parquet') GROUP BY kind\"", dir)
	d.say("  spillway up --data-dir %s        # and in another terminal:", dir)
	d.say("  spillway cat app.events --data-dir %s | head", dir)
	d.say("")
	d.say("With your own database: spillway up --database-url postgres://… ; see README.md")
}

// flush runs a FLUSH and returns the job's id.
func (d *demo) flush(ctx context.Context, statement string) (string, error) {
	var started sqlclient.Collector
	if err := d.sql(ctx, statement, tee{&started, newTable(d.env)}); err != nil {
		return "", err
	}
	if len(started.Rows) != 1 || started.Rows[0]["job_id"] == "" {
		return "", fmt.Errorf("FLUSH answered without a job id: %v", started.Rows)
	}
	return started.Rows[0]["job_id"], nil
}

// follow waits for a job's end, with a progress bar. want is the status that it must end with, or "".
func (d *demo) follow(ctx context.Context, id, want string) error {
	job, err := progress.Follow(ctx, d.client, id, &progress.Meter{W: d.env.Stdout, Bar: d.env.Width > 0})
	if err != nil {
		return err
	}
	if want != "" && job["status"] != want {
		return fmt.Errorf("job %s %s: %s", id, job["status"], job["error"])
	}
	return nil
}

// sql shows a statement and runs it.
func (d *demo) sql(ctx context.Context, statement string, s show.Sink) error {
	for i, line := range strings.Split(statement+";", "\n") {
		prompt := "app=> "
		if i > 0 {
			prompt = "app-> "
		}
		fmt.Fprintln(d.env.Stdout, prompt+line)
	}
	if s == nil {
		s = newTable(d.env)
	}
	return d.client.Run(ctx, statement, s)
}

func newTable(env *Env) show.Sink { return &show.Table{W: env.Stdout, Width: env.Width} }

func (d *demo) title(text string) {
	d.step++
	fmt.Fprintf(d.env.Stdout, "\n%d. %s\n\n", d.step, text)
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintln(d.env.Stdout, strings.TrimRight("   "+fmt.Sprintf(format, args...), " "))
}
