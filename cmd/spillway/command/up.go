package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
	"github.com/spillwaydb/spillway/internal/obs"
)

func newUp(env *Env) *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything in one process: worker, SQL front-end, Temporal, Web UI",
		Long: `Run everything in one process, in the foreground: the worker, the SQL front-end, a Temporal server with its Web UI, and
metrics. Without --database-url it also runs a private PostgreSQL in the data directory. Prints one line when it is ready, then logs.

Ctrl-C stops it and waits for running chunks; a second Ctrl-C stops it at once. Jobs go on at the next start.

With --temporal-store postgres://… several of them may be started, on several machines: one is active, the others wait and take over
when it ends. See docs/deploy.md.`,
		Example: `  spillway up
  spillway up --database-url postgres://spillway@db.example.com/app --storage /srv/cold
  SPILLWAY_TEMPORAL_STORE=postgres://spillway@db.example.com/temporal spillway up --database-url postgres://spillway@db.example.com/app --storage /mnt/cold`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runUp(cmd.Context(), env, &o) },
	}
	o.databaseFlags(cmd, " (default: a private PostgreSQL in the data directory)")
	o.dataDirFlag(cmd)
	o.storageFlag(cmd)
	o.temporalFlags(cmd, " (default: TEMPORAL_ADDRESS, or one inside this process)")
	o.temporalStoreFlags(cmd)
	o.temporalRetentionFlag(cmd)
	o.frontFlag(cmd)
	o.temporalListenFlags(cmd)
	o.retentionFlag(cmd)
	o.workerFlags(cmd)
	o.policyFlags(cmd)
	o.runFlags(cmd, upMetrics)
	return cmd
}

func runUp(ctx context.Context, env *Env, o *serverOptions) error {
	n, err := newNode(env, o)
	if err != nil {
		return err
	}
	up, err := n.startUp(ctx)
	if err != nil {
		n.abandon(ctx)
		if n.standby.Load() != nil && fail.Interrupted(ctx) { // nothing was cut off
			fmt.Fprintln(env.Stderr, "stopped")
			return nil
		}
		return err
	}
	fmt.Fprintln(env.Stdout, n.readyLine(up))
	return n.run(ctx)
}

// startUp starts all that `up` consists of, and says in up.json where it is.
func (n *node) startUp(ctx context.Context) (*datadir.Up, error) {
	if err := n.lockDataDir(); err != nil {
		return nil, err
	}
	front, err := n.listen("sql-listen", n.opt.sqlListen)
	if err != nil {
		return nil, err
	}
	if err := n.startMetrics(); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{
		n.openDatabase, n.openStorage,
		func(ctx context.Context) error { return n.takeStore(ctx, front) },
		n.startTracing,
		func(ctx context.Context) error { return n.openTemporal(ctx, true) },
		n.measure, n.startWatches,
		func(context.Context) error { return n.startWorker() },
		func(context.Context) error { return n.startFront(front) },
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	up := n.describe(front.Addr())
	if err := up.Write(n.opt.dataDir); err != nil {
		return nil, fmt.Errorf("write %s: %w", datadir.UpPath(n.opt.dataDir), err)
	}
	n.started("up.json", func(context.Context) error { return os.Remove(datadir.UpPath(n.opt.dataDir)) })
	if err := n.settleStorage(ctx); err != nil { // late: a start that fails must not have settled it
		return nil, err
	}
	if err := n.closeInterrupted(ctx); err != nil { // it needs the storage
		return nil, err
	}
	n.ready.Store(true)
	return up, nil
}

// describe fills up.json.
func (n *node) describe(front net.Addr) *datadir.Up {
	u := url.URL{Scheme: "postgres", Host: reachable(front.String()), Path: "/" + n.database(), RawQuery: "sslmode=disable"}
	workerURL := ""
	if n.private != nil {
		u.User = url.UserPassword(privateUser, n.private.passwords[privateUser])
		workerURL = n.private.workerURL
	}
	up := &datadir.Up{
		WorkerURL: workerURL,
		PID:       os.Getpid(), Version: versionText(), StartedAt: time.Now().UTC(), SQLURL: u.String(), Storage: n.storage,
		TemporalAddress: n.temporalAddress, Namespace: n.namespace, UIURL: n.uiURL,
	}
	if n.metricsAt != nil {
		up.MetricsURL = "http://" + reachable(n.metricsAt.String()) + "/metrics"
	}
	return up
}

// reachable turns a listening address into one that a client on this machine can use.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// readyLine is the one line on standard output: what to type next.
func (n *node) readyLine(up *datadir.Up) string {
	u, err := url.Parse(up.SQLURL)
	if err != nil {
		return "spillway is ready"
	}
	psql := fmt.Sprintf("psql -h %s -p %s", u.Hostname(), u.Port())
	if n.private != nil {
		path := pgpassPath(n.opt.dataDir)
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		psql = "PGPASSFILE=" + show.ShellQuote(path) + " " + psql + " -U " + u.User.Username()
	}
	line := "spillway is ready: " + psql + " " + show.ShellQuote(strings.TrimPrefix(u.Path, "/"))
	if up.UIURL != "" {
		line += " ; web ui " + up.UIURL
	}
	return line
}

// startMetrics serves health and metrics, if they are wanted.
func (n *node) startMetrics() error {
	if n.opt.metricsListen == "" {
		return nil
	}
	ln, err := n.listenMetrics()
	if err != nil {
		return err
	}
	n.metricsAt = ln.Addr()
	n.started("metrics", serveHTTP(ln, metricsHandler(n.metrics, n.check, n.opt.pprof), n.fail))
	return nil
}

// listenMetrics takes the address of /metrics. Where nobody chose one and the default is taken, by another worker perhaps, a
// free port does: a process that could do its work must not die of it.
func (n *node) listenMetrics() (net.Listener, error) {
	ln, err := n.listen(metricsFlag, n.opt.metricsListen)
	if n.opt.metricsChosen() || !errors.Is(err, syscall.EADDRINUSE) {
		return ln, err
	}
	host, _, err := hostPort(metricsFlag, n.opt.metricsListen)
	if err != nil {
		return nil, err
	}
	if ln, err = n.listen(metricsFlag, net.JoinHostPort(host, "0")); err != nil {
		return nil, err
	}
	n.log.Warn("the default address of /metrics is taken; serving it elsewhere", obs.KeyAddress, ln.Addr().String())
	return ln, nil
}

// check says what keeps this process from doing its work now. It answers at once: others were asked before.
func (n *node) check() error {
	if text := n.standby.Load(); text != nil {
		return errors.New(*text)
	}
	if !n.ready.Load() {
		return errors.New("starting or stopping")
	}
	for _, w := range n.watches {
		if w.isDown() {
			return errors.New(w.outside)
		}
	}
	return nil
}

// run waits until the user stops the process or a part of it fails, then stops the rest.
func (n *node) run(ctx context.Context) error {
	var failed error
	select {
	case <-ctx.Done():
		fmt.Fprintf(n.env.Stderr, "stopping: waiting for running chunks, at most %s; press Ctrl-C again to stop at once\n", n.opt.shutdownTimeout)
		n.flushBeforeStop(ctx)
	case failed = <-n.failed:
		n.log.Error("stopping", obs.KeyErr, failed)
	}
	// The worker bounds its own wait by --shutdown-timeout; the rest is quick.
	patience := n.opt.shutdownTimeout + time.Minute
	if errors.Is(failed, embedtemporal.ErrStoreLost) { // another process goes on with the jobs: chunks that run here are in its way
		patience = time.Second
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	n.stop(stopCtx)
	if failed == nil {
		fmt.Fprintln(n.env.Stderr, "stopped")
	}
	return failed
}

// abandon stops what a start that failed has left running.
func (n *node) abandon(ctx context.Context) {
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	n.stop(stopCtx)
}
