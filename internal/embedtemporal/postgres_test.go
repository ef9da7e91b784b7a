package embedtemporal_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
)

// open takes a store and gives it back when the test ends.
func open(t *testing.T, opt embedtemporal.PostgresOptions) *embedtemporal.Postgres {
	t.Helper()
	p, err := tryOpen(t, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

func tryOpen(t *testing.T, opt embedtemporal.PostgresOptions) (*embedtemporal.Postgres, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	return embedtemporal.OpenPostgres(ctx, &opt)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func serveOn(t *testing.T, p *embedtemporal.Postgres) (*embedtemporal.Server, client.Client) {
	t.Helper()
	srv := start(t, &embedtemporal.Options{Store: p, NoUI: true})
	return srv, dial(t, srv)
}

// The role is no superuser and may create in its database, no more.
func TestPostgresOutlivesTheServer(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	opt := embedtemporal.PostgresOptions{URL: db.WorkerURL, Owner: "us", Holder: "first"}
	p := open(t, opt)
	srv, c := serveOn(t, p)
	w := worker.New(c, "kept", worker.Options{})
	w.RegisterWorkflow(greet)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	runGreeting(t, c, "kept")
	w.Stop()
	if n := pgtest.Value[int](t, db, "SELECT count(*)::int FROM pg_stat_activity WHERE datname = $1 AND application_name = 'spillway:temporal'", db.Name); n > 60 {
		t.Errorf("%d connections", n)
	} else {
		t.Logf("%d connections", n)
	}
	must(t, srv.Stop())
	must(t, p.Close())
	if n := pgtest.Value[int](t, db, "SELECT count(*)::int FROM pg_class WHERE relnamespace NOT IN ('temporal'::regnamespace, 'temporal_visibility'::regnamespace)"+
		" AND relkind = 'r' AND relname IN ('executions', 'shards', 'executions_visibility')"); n != 0 {
		t.Errorf("%d tables outside the two schemas", n)
	}

	p = open(t, opt)
	if p.Shards() != embedtemporal.DefaultShards {
		t.Errorf("%d shards", p.Shards())
	}
	_, c = serveOn(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if _, err := c.DescribeWorkflowExecution(ctx, "kept", ""); err != nil {
		t.Error(err)
	}
}

// Two installations in one database do not see each other, and each number of shards is kept.
func TestPostgresStoresSideBySide(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	one := open(t, embedtemporal.PostgresOptions{URL: db.WorkerURL, Owner: "one", Shards: 2})
	two := open(t, embedtemporal.PostgresOptions{URL: db.WorkerURL, Owner: "two", Schema: `odd "name"`})
	if one.Shards() != 2 || two.Shards() != embedtemporal.DefaultShards {
		t.Errorf("%d and %d shards", one.Shards(), two.Shards())
	}
	serveOn(t, two)
	must(t, one.Close())
	for name, c := range map[string]struct {
		opt        embedtemporal.PostgresOptions
		says, hint string
	}{
		"shards": {embedtemporal.PostgresOptions{Owner: "one", Shards: 4}, "has 2 history shards, not 4", "set it to 2"},
		"owner":  {embedtemporal.PostgresOptions{Owner: "three"}, "belongs to one, not to three", "--temporal-store-schema"},
		// Who has to wait hears it too, and now.
		"waiting": {embedtemporal.PostgresOptions{Owner: "three", Schema: `odd "name"`}, "belongs to two, not to three", "--temporal-store-schema"},
	} {
		c.opt.URL = db.WorkerURL
		_, err := tryOpen(t, c.opt)
		var bad *embedtemporal.StoreError
		if !errors.As(err, &bad) || !strings.Contains(bad.Error(), c.says) || !strings.Contains(bad.Hint, c.hint) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a database owner who gives no CREATE has to prepare, and what is said when it was not.
func TestPostgresRights(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Super(t, "REVOKE CREATE ON DATABASE "+db.Name+" FROM "+db.Worker, "CREATE SCHEMA foreign_one; CREATE TABLE foreign_one.executions (id int)")
	opt := embedtemporal.PostgresOptions{URL: db.WorkerURL}
	_, err := tryOpen(t, opt)
	var bad *embedtemporal.StoreError
	if !errors.As(err, &bad) || !strings.Contains(bad.Error(), "may not make the schema temporal") {
		t.Fatalf("got %v", err)
	}
	_, script, ok := strings.Cut(bad.Hint, "or instead: ")
	if !ok {
		t.Fatalf("hint %q", bad.Hint)
	}
	if n := pgtest.Value[int](t, db, "SELECT count(*)::int FROM pg_namespace WHERE nspname LIKE 'temporal%'"); n != 0 {
		t.Errorf("%d schemas after a refusal", n)
	}
	foreign := opt
	foreign.Schema = "foreign_one"
	if _, err := tryOpen(t, foreign); !errors.As(err, &bad) || !strings.Contains(bad.Error(), "not Spillway's") {
		t.Errorf("a foreign schema: %v", err)
	}
	db.Super(t, script)
	serveOn(t, open(t, opt))
}

func TestPostgresBadURL(t *testing.T) {
	t.Parallel()
	srv := pgtest.Server(t)
	good, err := url.Parse(srv.SuperURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	wrong := *good
	wrong.User = url.UserPassword("nobody", "s3cret-word")
	for name, address := range map[string]string{
		"unreadable": "postgres://u:s3cret-word@%zz/db", "nobody listens": "postgres://u:s3cret-word@127.0.0.1:1/db", "wrong user": wrong.String(),
	} {
		_, err := tryOpen(t, embedtemporal.PostgresOptions{URL: address})
		var bad *embedtemporal.StoreError
		if !errors.As(err, &bad) || bad.Hint == "" || strings.Contains(err.Error()+bad.Hint, "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, opt := range []embedtemporal.PostgresOptions{{Schema: "public"}, {Schema: "pg_x"}, {Schema: strings.Repeat("x", 60)}, {Shards: -1}, {Shards: 5000}} {
		opt.URL = srv.SuperURL("postgres")
		if _, err := tryOpen(t, opt); err == nil {
			t.Errorf("%+v was taken", opt)
		}
	}
}

// A35: one waits while another has the store, and has it soon after that has lost it. The one that lost it has stopped by
// then: its server answers nobody.
func TestPostgresStandby(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	opt := embedtemporal.PostgresOptions{URL: db.WorkerURL, Owner: "us", Holder: "the first"}
	first := open(t, opt)
	srv, c := serveOn(t, first)
	runIdle(t, c, "going on")

	told := make(chan string, 1)
	opt.Holder, opt.Waiting = "the second", func(holder string) { told <- holder }
	type opened struct {
		p   *embedtemporal.Postgres
		err error
	}
	result := make(chan opened, 1)
	go func() {
		p, err := embedtemporal.OpenPostgres(context.WithoutCancel(t.Context()), &opt)
		result <- opened{p, err}
	}()
	if holder := <-told; holder != "the first" {
		t.Errorf("it waits for %q", holder)
	}
	select {
	case got := <-result:
		t.Fatalf("two have the store: %v", got.err)
	default:
	}
	begun := time.Now()
	// As in a restart of the server all sessions end, that of the one that waits too.
	db.Super(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'spillway:temporal' AND datname = current_database()")
	wait(t.Context(), t, "the first to notice", first.Lost())
	t.Logf("noticed after %v", time.Since(begun))
	if err := first.Err(); !errors.Is(err, embedtemporal.ErrStoreLost) {
		t.Errorf("lost: %v", err)
	}
	wait(t.Context(), t, "the first server to say so", srv.Failed())
	if err := srv.Err(); !errors.Is(err, embedtemporal.ErrStoreLost) {
		t.Errorf("the server failed with %v", err)
	}
	got := <-result
	if got.err != nil {
		t.Fatal(got.err)
	}
	t.Logf("taken over after %v", time.Since(begun))
	t.Cleanup(func() { must(t, got.p.Close()) })
	_, c = serveOn(t, got.p)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if _, err := c.DescribeWorkflowExecution(ctx, "going on", ""); err != nil {
		t.Error(err)
	}
}

// A store that is lost while the server starts ends the start.
func TestPostgresLostInTheStart(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	p := open(t, embedtemporal.PostgresOptions{URL: db.WorkerURL})
	db.Super(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'spillway:temporal' AND datname = current_database()")
	_, err := embedtemporal.Start(t.Context(), &embedtemporal.Options{Store: p, NoUI: true})
	if err == nil {
		t.Fatal("it started")
	}
	wait(t.Context(), t, "the loss", p.Lost())
	if _, err := embedtemporal.Start(t.Context(), &embedtemporal.Options{Store: p, NoUI: true}); !errors.Is(err, embedtemporal.ErrStoreLost) {
		t.Errorf("a start without the store: %v", err)
	}
}

// runIdle starts a workflow that nobody works on.
func runIdle(t *testing.T, c client.Client, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if _, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: id}, greet, "world"); err != nil {
		t.Fatal(err)
	}
}

// Who waits can be told to stop.
func TestPostgresWaitEnds(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	opt := embedtemporal.PostgresOptions{URL: db.WorkerURL}
	open(t, opt)
	ctx, cancel := context.WithCancel(t.Context())
	opt.Waiting = func(string) { cancel() }
	if _, err := embedtemporal.OpenPostgres(ctx, &opt); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
