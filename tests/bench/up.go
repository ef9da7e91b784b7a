package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// upChild is `spillway up` as users get it: a process of its own with worker, front-end and Temporal, on the bed's
// database, as the worker's role.
type upChild struct {
	b       *bed
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the process is gone
	front   string        // URL of the front-end for the tables' owner
	address string        // of the embedded Temporal
	space   string        // namespace in it
}

// binary builds spillway, once, unless -spillway names one.
func (b *bed) binary(ctx context.Context) (string, error) {
	if b.spillway == "" && b.cfg.spillway != "" {
		path, err := filepath.Abs(b.cfg.spillway)
		if err != nil {
			return "", err
		}
		b.spillway = path
	}
	if b.spillway != "" {
		return b.spillway, nil
	}
	b.say("building spillway")
	path := filepath.Join(b.dir, "spillway")
	out, err := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", path, "github.com/spillwaydb/spillway/cmd/spillway").CombinedOutput()
	if err != nil {
		return "", notAvailable("spillway does not build: %s", firstLine(string(out)))
	}
	b.spillway = path
	return path, nil
}

// startUp runs `spillway up` and returns when it is ready.
func (b *bed) startUp(ctx context.Context) (*upChild, error) {
	binary, err := b.binary(ctx)
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(b.dir, "up-")
	if err != nil {
		return nil, err
	}
	log := &tail{}
	cmd := exec.Command(binary, "up", "--data-dir", data, "--storage", b.storage(), "--database-url", b.workerURL(),
		"--sql-listen", "127.0.0.1:0", "--temporal-listen", "127.0.0.1:0", "--ui-listen", "127.0.0.1:0", "--metrics-listen", "",
		"--slots", fmt.Sprint(max(4, b.cfg.parallelism)), "--log-level", "warn")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	u := &upChild{b: b, cmd: cmd, exited: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(u.exited) }() // how it ended, its log says
	err = u.awaitReady(ctx, filepath.Join(data, "up.json"), log)
	if err == nil {
		err = u.awaitRest(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, u.stop())
	}
	return u, nil
}

// atRest is the share of a processor below which a process counts as idle.
const atRest = 0.15

// awaitRest waits until the process idles: Temporal goes on starting for seconds after it answers, and who is measured meanwhile
// would be charged with that.
func (u *upChild) awaitRest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	before := treeSeconds(u.cmd.Process.Pid)
	for {
		select {
		case <-tick.C:
		case <-u.exited:
			return notAvailable("`spillway up` ended before it was asked for anything")
		case <-ctx.Done():
			return errors.New("`spillway up` did not come to rest in a minute")
		}
		used := treeSeconds(u.cmd.Process.Pid)
		if used-before < atRest {
			return nil
		}
		before = used
	}
}

// awaitReady waits for up.json, which is written last.
func (u *upChild) awaitReady(ctx context.Context, path string, log *tail) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(path); err == nil {
			return u.read(text)
		}
		select {
		case <-tick.C:
		case <-u.exited:
			return notAvailable("`spillway up` ended: %s", log)
		case <-ctx.Done():
			return fmt.Errorf("`spillway up` was not ready in a minute: %s", log)
		}
	}
}

func (u *upChild) read(text []byte) error {
	var file struct {
		SQLURL          string `json:"sql_url"`
		TemporalAddress string `json:"temporal_address"`
		Namespace       string `json:"temporal_namespace"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return fmt.Errorf("read up.json: %w", err)
	}
	front, err := url.Parse(file.SQLURL)
	if err != nil {
		return fmt.Errorf("read up.json: %w", err)
	}
	front.User = url.UserPassword(ownerRole, u.b.password)
	u.front, u.address, u.space = front.String(), file.TemporalAddress, file.Namespace
	return nil
}

// stop asks the process to stop, and ends it if it does not.
func (u *upChild) stop() error {
	select {
	case <-u.exited:
		return nil
	default:
	}
	if err := u.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-u.exited:
		return nil
	case <-time.After(30 * time.Second):
		_ = u.cmd.Process.Kill()
		<-u.exited
		return errors.New("`spillway up` had to be killed")
	}
}

// flushAndWait flushes app.<table> and returns the job's last state, which must be that it completed.
func (c *client) flushAndWait(ctx context.Context, t table, options string) (map[string]string, error) {
	return c.jobAndWait(ctx, "FLUSH TABLE app."+t.name+" WITH (wait = true"+options+")")
}

// jobAndWait runs a statement that waits for its job and returns the job's last state, which must be that it completed.
func (c *client) jobAndWait(ctx context.Context, sql string) (map[string]string, error) {
	row, err := c.row(ctx, sql)
	if err != nil {
		return nil, err
	}
	row, err = c.row(ctx, "SHOW JOB '"+row["job_id"]+"'")
	if err == nil && row["status"] != "completed" {
		err = fmt.Errorf("job %s %s: %s", row["job_id"], row["status"], row["error"])
	}
	return row, err
}

// connect opens a connection to the front-end as the tables' owner, for the simple protocol.
func (u *upChild) connect(ctx context.Context) (*client, error) {
	return dialFront(ctx, u.front)
}

// client speaks the simple protocol, as psql does.
type client struct{ conn *pgx.Conn }

func dialFront(ctx context.Context, url string) (*client, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	cfg.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the front-end: %w", err)
	}
	return &client{conn}, nil
}

func (c *client) close() { _ = c.conn.Close(context.Background()) }

// row runs a statement that answers one row, and returns it by column name.
func (c *client) row(ctx context.Context, sql string) (map[string]string, error) {
	results, err := c.conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", firstWords(sql), err)
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return nil, fmt.Errorf("%s: expected one row", firstWords(sql))
	}
	row := map[string]string{}
	for i, f := range results[0].FieldDescriptions {
		row[f.Name] = string(results[0].Rows[0][i])
	}
	return row, nil
}

// tail keeps the end of a process's output.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	const keep = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if over := t.buf.Len() - keep; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ReplaceAll(strings.TrimSpace(t.buf.String()), "\n", " | ")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
