package embedtemporal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
	"github.com/spillwaydb/spillway/internal/embedtemporal/temporaltest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := errors.Join(temporaltest.Stop(), pgtest.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, "embedtemporal:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

const deadline = time.Minute

func start(t *testing.T, opt *embedtemporal.Options) *embedtemporal.Server {
	t.Helper()
	srv, err := embedtemporal.Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return srv
}

func dial(t *testing.T, srv *embedtemporal.Server) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{
		HostPort:  srv.Address(),
		Namespace: srv.Namespace(),
		Logger:    sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func work(t *testing.T, c client.Client, queue string, register func(worker.Worker)) {
	t.Helper()
	w := worker.New(c, queue, worker.Options{})
	register(w)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
}

func greet(_ workflow.Context, name string) (string, error) { return "hello, " + name, nil }

func runGreeting(t *testing.T, c client.Client, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: id}, greet, "world")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := run.Get(ctx, &got); err != nil || got != "hello, world" {
		t.Errorf("workflow says %q, %v", got, err)
	}
}

func TestWorkflowInMemory(t *testing.T) {
	t.Parallel()
	c := temporaltest.Client(t)
	work(t, c, "greeting", func(w worker.Worker) { w.RegisterWorkflow(greet) })
	runGreeting(t, c, "greeting")
}

// The activity never records a heartbeat, so only the server's push can tell it.
func TestCancelIsPushed(t *testing.T) {
	t.Parallel()
	c := temporaltest.Client(t)
	running := make(chan struct{})
	told := make(chan error, 1)
	hang := func(ctx context.Context) error {
		close(running)
		<-ctx.Done()
		told <- ctx.Err()
		return ctx.Err()
	}
	flow := func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: time.Hour,
			WaitForCancellation: true,
			RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
		})
		return workflow.ExecuteActivity(ctx, "hang").Get(ctx, nil)
	}
	work(t, c, "push", func(w worker.Worker) {
		w.RegisterWorkflowWithOptions(flow, workflow.RegisterOptions{Name: "hanging"})
		w.RegisterActivityWithOptions(hang, activity.RegisterOptions{Name: "hang"})
	})
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "push", TaskQueue: "push"}, "hanging")
	if err != nil {
		t.Fatal(err)
	}
	wait(ctx, t, "the activity to run", running)
	begun := time.Now()
	if err := c.CancelWorkflow(ctx, run.GetID(), run.GetRunID()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-told:
		t.Logf("told after %v", time.Since(begun))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the activity's context ended with %v", err)
		}
	case <-ctx.Done():
		t.Fatal("the activity was never told")
	}
	var cancelled *temporal.CanceledError
	if err := run.Get(ctx, nil); !errors.As(err, &cancelled) {
		t.Errorf("the workflow ended with %v", err)
	}
}

func wait(ctx context.Context, t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatalf("waited for %s: %v", what, context.Cause(ctx))
	}
}

func TestFileOutlivesTheServer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "odd name % ? #", "temporal")
	first, err := embedtemporal.Start(t.Context(), &embedtemporal.Options{DataDir: dir, NoUI: true})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, first)
	w := worker.New(c, "kept", worker.Options{})
	w.RegisterWorkflow(greet)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	runGreeting(t, c, "kept")
	if _, err := os.Stat(filepath.Join(dir, "temporal.db-wal")); err != nil {
		t.Errorf("the server works without a write-ahead log: %v", err)
	}
	w.Stop()
	c.Close()
	for range 2 {
		if err := first.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "temporal.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("store: %v, %v, want mode 0600", info, err)
	}

	const retention = 3 * 24 * time.Hour
	second := start(t, &embedtemporal.Options{DataDir: dir, NoUI: true, Retention: retention})
	c = dial(t, second)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	found, err := c.DescribeWorkflowExecution(ctx, "kept", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := found.GetWorkflowExecutionInfo().GetStatus(); got != enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED {
		t.Errorf("status %v after the restart", got)
	}
	ns, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: second.Namespace()})
	if err != nil {
		t.Fatal(err)
	}
	if got := ns.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration(); got != retention {
		t.Errorf("retention %v, want %v", got, retention)
	}
}

func TestTwoServersOneDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := start(t, &embedtemporal.Options{DataDir: dir, NoUI: true})
	_, err := embedtemporal.Start(t.Context(), &embedtemporal.Options{DataDir: dir, NoUI: true})
	var inUse *embedtemporal.InUseError
	if !errors.As(err, &inUse) || !errors.Is(err, embedtemporal.ErrInUse) {
		t.Fatalf("got %v, want *InUseError", err)
	}
	if inUse.PID != os.Getpid() || inUse.Dir != dir {
		t.Errorf("error says %+v", inUse)
	}
	dial(t, srv) // the first one is unharmed
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	for name, opt := range map[string]*embedtemporal.Options{
		"server": {Port: port},
		"ui":     {UIPort: port},
	} {
		_, err := embedtemporal.Start(t.Context(), opt)
		var taken *embedtemporal.PortError
		if !errors.As(err, &taken) || taken.Addr != l.Addr().String() {
			t.Errorf("%s: got %v, want *PortError for %s", name, err, l.Addr())
		}
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	for _, opt := range []embedtemporal.Options{
		{Host: "example.com"}, {Port: -1}, {UIPort: 70000}, {Retention: time.Hour}, {Port: 7000, UIPort: 7000},
	} {
		if srv, err := embedtemporal.Start(t.Context(), &opt); err == nil {
			t.Errorf("%+v: started", opt)
			srv.Stop()
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedtemporal.Start(t.Context(), &embedtemporal.Options{DataDir: file, NoUI: true})
	var bad *embedtemporal.StoreError
	if !errors.As(err, &bad) {
		t.Errorf("a file as data directory: %v, want *StoreError", err)
	}
}

func TestForeignStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rubbish := strings.Repeat("this is no database\n", 100)
	if err := os.WriteFile(filepath.Join(dir, "temporal.db"), []byte(rubbish), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedtemporal.Start(t.Context(), &embedtemporal.Options{DataDir: dir, NoUI: true})
	var bad *embedtemporal.StoreError
	if !errors.As(err, &bad) {
		t.Errorf("got %v, want *StoreError", err)
	}
}

func TestContextEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embedtemporal.Start(ctx, &embedtemporal.Options{DataDir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// syncBuffer takes log lines from several goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestWebUIAndSilence(t *testing.T) {
	t.Parallel()
	var logs syncBuffer
	srv := start(t, &embedtemporal.Options{Logger: slog.New(slog.NewTextHandler(&logs, nil))})
	for path, want := range map[string]string{
		"/":                          "/_app/", // the application's scripts
		"/namespaces/default/anyway": "/_app/",
		"/healthz":                   "OK",
		"/api/v1/settings":           `"DefaultNamespace":"default"`,
		"/api/v1/namespaces/default": `"name":"default"`, // by way of the server
	} {
		status, body := get(t, srv.UIURL()+path)
		if status != http.StatusOK || !strings.Contains(strings.ReplaceAll(body, " ", ""), want) {
			t.Errorf("%s: %d %.300s, want %q in it", path, status, body, want)
		}
	}
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := http.Get(srv.UIURL()); err == nil {
		t.Error("the Web UI still answers after Stop")
	}
	if srv.Err() != nil {
		t.Errorf("failed: %v", srv.Err())
	}
	if got := logs.String(); got != "" {
		t.Errorf("logged:\n%s", got)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestSearchAttributes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	srv := start(t, &embedtemporal.Options{NoUI: true, Namespace: "attributes"})
	c := dial(t, srv)
	want := map[string]enumspb.IndexedValueType{
		"SpillwayTable":  enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"SpillwayStatus": enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"SpillwayRows":   enumspb.INDEXED_VALUE_TYPE_INT,
	}
	results := make(chan error)
	for range 3 { // workers that start at the same time
		go func() { results <- embedtemporal.EnsureSearchAttributes(ctx, c, srv.Namespace(), want) }()
	}
	for range 3 {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	table := temporal.NewSearchAttributeKeyKeyword("SpillwayTable")
	_, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: "attributes", TaskQueue: "attributes",
		TypedSearchAttributes: temporal.NewSearchAttributes(table.ValueSet("app.events")),
	}, "nobody works on it")
	if err != nil {
		t.Errorf("start with an attribute: %v", err)
	}

	err = embedtemporal.EnsureSearchAttributes(ctx, c, srv.Namespace(), map[string]enumspb.IndexedValueType{
		"SpillwayTable": enumspb.INDEXED_VALUE_TYPE_INT,
	})
	var bad *embedtemporal.SearchAttributesError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "SpillwayTable") {
		t.Errorf("another type: %v, want *SearchAttributesError that names it", err)
	}

	if !errors.Is(err, embedtemporal.ErrAttributeType) {
		t.Errorf("another type: %v, want ErrAttributeType", err)
	}
	lacking := maps.Clone(want)
	lacking["SpillwayNew"] = enumspb.INDEXED_VALUE_TYPE_BOOL
	missing, err := embedtemporal.MissingSearchAttributes(ctx, c, srv.Namespace(), lacking)
	if err != nil || len(missing) != 1 {
		t.Errorf("missing are %v, %v", missing, err)
	}
	const command = "temporal operator search-attribute create --namespace attributes --name SpillwayNew --type Bool"
	if got := embedtemporal.CreateCommand("attributes", missing); got != command {
		t.Errorf("command %q", got)
	}

	tooMany := map[string]enumspb.IndexedValueType{}
	for _, name := range []string{"A", "B", "C", "D"} {
		tooMany["SpillwayInt"+name] = enumspb.INDEXED_VALUE_TYPE_INT
	}
	err = embedtemporal.EnsureSearchAttributes(ctx, c, srv.Namespace(), tooMany)
	if !errors.As(err, &bad) || len(bad.Missing) != 4 {
		t.Errorf("too many of a type: %v, want *SearchAttributesError", err)
	}
}
