package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	sdk "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/worker"
	"github.com/spillwaydb/spillway/workflows"
)

// node is what one process runs. Its parts are started in order, each on top of those before, and stopped in reverse.
type node struct {
	env *Env
	opt *serverOptions
	log *slog.Logger

	parts  []part
	failed chan error  // a part that ended by itself
	ready  atomic.Bool // what /readyz says

	private         *privatePostgres // nil: the database was given
	databaseURL     string
	db              *hot.DB
	ledger          *ledger.Ledger
	stores          *flush.LedgerStores
	storage         string // location of the default storage
	installation    ledger.Installation
	temporal        sdk.Client
	embedded        *embedtemporal.Server // nil: a cluster was given
	uiURL           string
	namespace       string
	temporalAddress string
	jobs            *temporaljobs.Manager
	metrics         net.Addr // nil: none
}

// part is something that runs and can be stopped.
type part struct {
	name string
	stop func(context.Context) error
}

func newNode(env *Env, opt *serverOptions) (*node, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	log, err := opt.logger(env.Stderr)
	if err != nil {
		return nil, err
	}
	return &node{env: env, opt: opt, log: log, failed: make(chan error, 8)}, nil
}

func (n *node) started(name string, stop func(context.Context) error) {
	n.parts = append(n.parts, part{name, stop})
}

// fail reports that a part ended by itself. The first report stops the process.
func (n *node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// stop stops every part, the last started first. Errors are logged: there is nobody left to handle them.
func (n *node) stop(ctx context.Context) {
	n.ready.Store(false)
	for i := len(n.parts) - 1; i >= 0; i-- {
		p := n.parts[i]
		n.log.Debug("stopping", obs.KeyPart, p.name)
		if err := p.stop(ctx); err != nil {
			n.log.Error("could not stop cleanly", obs.KeyPart, p.name, obs.KeyErr, err)
		}
	}
	n.parts = nil
}

// lockDataDir keeps other processes off the data directory.
func (n *node) lockDataDir() error {
	lock, err := lockDataDir(n.opt.dataDir)
	if err != nil {
		return err
	}
	n.started("data directory", func(context.Context) error { return lock.Release() })
	return nil
}

// listen takes an address before anything slow is started, so that a port in use is an error at once.
func (n *node) listen(flag, address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, hint(fmt.Errorf("--%s: %w", flag, err), "stop what listens there, or choose another address with --%s", flag)
	}
	n.started("listener "+address, func(context.Context) error {
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return ln, nil
}

// openDatabase connects to the database, a private one if none was given, and brings the ledger up to date.
func (n *node) openDatabase(ctx context.Context) error {
	n.databaseURL = n.opt.databaseURL
	if n.databaseURL == "" {
		if err := n.startPrivate(ctx); err != nil {
			return err
		}
	}
	db, err := hot.Open(ctx, n.databaseURL, &hot.Options{Reserved: []string{n.opt.ledgerSchema, n.opt.systemSchema}})
	if err != nil {
		return err
	}
	n.db = db
	n.started("database", func(context.Context) error { db.Close(); return nil })
	n.ledger = ledger.New(db.Pool(), &ledger.Options{Schema: n.opt.ledgerSchema, SystemSchema: n.opt.systemSchema})
	if err := n.ledger.Migrate(ctx); err != nil {
		return err
	}
	n.installation, err = n.ledger.Installation(ctx, n.opt.installation)
	if err != nil {
		return err
	}
	if n.opt.installation != "" && n.opt.installation != n.installation.Name {
		return hint(fmt.Errorf("this database belongs to the installation %q, not %q", n.installation.Name, n.opt.installation),
			"leave --installation out: the name was settled when the ledger was made")
	}
	return nil
}

func (n *node) startPrivate(ctx context.Context) error {
	p, err := startPrivate(ctx, n.opt.dataDir, n.log)
	if err != nil {
		return err
	}
	n.private, n.databaseURL = p, p.workerURL
	forget := n.env.last.add(func() { _ = p.server.Kill() }) // the process ends at once, nobody could be told
	n.started("private PostgreSQL", func(ctx context.Context) error {
		defer forget()
		return p.server.Stop(ctx)
	})
	go func() {
		<-p.server.Done()
		n.fail(fmt.Errorf("the private PostgreSQL has ended; its log: %s", p.server.LogPath()))
	}()
	return nil
}

// openStorage opens the default storage and makes sure that it is ours.
func (n *node) openStorage(ctx context.Context) error {
	location, err := n.defaultLocation(ctx)
	if err != nil {
		return err
	}
	store, err := objstore.Open(ctx, location)
	if err != nil {
		return err // it names the location
	}
	row, err := n.ledger.EnsureDefaultStorage(ctx, store.URL(""))
	if err != nil {
		return err
	}
	if row.Location != store.URL("") {
		return hint(fmt.Errorf("the storage of this database is %s, not %s", row.Location, store.URL("")),
			"leave --storage out: segments that are there would stay behind")
	}
	n.storage = row.Location
	n.stores = flush.NewLedgerStores(n.ledger, nil)
	_, _, err = n.stores.Store(ctx, "")
	return err
}

// defaultLocation is --storage, or what the ledger has, or a folder in the data directory.
func (n *node) defaultLocation(ctx context.Context) (string, error) {
	if n.opt.storage != "" {
		return n.opt.storage, nil
	}
	row, err := n.ledger.Storage(ctx, "")
	switch {
	case err == nil:
		return row.Location, nil
	case !errors.Is(err, ledger.ErrNotFound):
		return "", err
	case n.opt.dataDir == "":
		return "", hint(errors.New("this database has no storage yet"), "name one with --storage")
	}
	return filepath.Join(n.opt.dataDir, "segments"), nil
}

// openTemporal connects to Temporal, starting one in this process if embed is set and none was named.
func (n *node) openTemporal(ctx context.Context, embed bool) error {
	opts, err := n.temporalOptions(embed)
	if err != nil {
		return err
	}
	if embed && opts.HostPort == "" {
		if err := n.startTemporal(ctx); err != nil {
			return err
		}
		opts.HostPort, opts.Namespace = n.embedded.Address(), n.embedded.Namespace()
	}
	if opts.HostPort == "" {
		opts.HostPort = sdk.DefaultHostPort
	}
	n.namespace, n.temporalAddress = opts.Namespace, opts.HostPort
	dialCtx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if n.temporal, err = sdk.DialContext(dialCtx, opts); err != nil {
		return temporalError(opts.HostPort, err)
	}
	n.started("Temporal client", func(context.Context) error { n.temporal.Close(); return nil })
	if err := embedtemporal.EnsureSearchAttributes(ctx, n.temporal, n.namespace, workflows.SearchAttributes()); err != nil {
		return fmt.Errorf("register search attributes in Temporal namespace %s: %w", n.namespace, err)
	}
	n.jobs, err = temporaljobs.New(n.temporal, n.ledger, &temporaljobs.Options{
		Installation: n.installation.Name, Namespace: n.namespace, UIBaseURL: n.uiURL,
		Types: map[jobmanager.JobType]temporaljobs.Type{
			workflows.FlushType: temporaljobs.Flush(validateFlush, workflows.Tuning{Attempts: n.opt.attempts, Heartbeat: n.opt.heartbeat}),
		},
	})
	return err
}

// validateFlush refuses parameters that no flush can have, before there is a job.
func validateFlush(spec jobmanager.JobSpec) error {
	_, err := flush.ParseOptions(spec.Params)
	var bad *flush.OptionError
	if errors.As(err, &bad) {
		return &jobmanager.SpecError{Param: bad.Option, Msg: bad.Msg, Hint: bad.Hint}
	}
	return err
}

// temporalOptions reads Temporal's own variables and profiles; our flags stand above them. Where a Temporal would be
// embedded, only a profile that was named counts: a file for other programs must not change what `up` does.
func (n *node) temporalOptions(embed bool) (sdk.Options, error) {
	_, profile := n.env.LookupEnv("TEMPORAL_PROFILE")
	_, file := n.env.LookupEnv("TEMPORAL_CONFIG_FILE")
	opts, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{
		EnvLookup: envLookup{n.env}, DisableFile: embed && !profile && !file,
	})
	if err != nil {
		return opts, usagef("Temporal's environment variables or profile: %v", err)
	}
	if n.opt.temporalAddress != "" {
		opts.HostPort = n.opt.temporalAddress
	}
	if n.opt.temporalNamespace != "" {
		opts.Namespace = n.opt.temporalNamespace
	}
	if opts.Namespace == "" {
		opts.Namespace = sdk.DefaultNamespace
	}
	opts.Logger = worker.Logger(n.log.With(obs.KeyPart, "temporal"))
	opts.WorkerHeartbeatInterval = temporaljobs.HeartbeatEvery // system.workers shows them
	return opts, nil
}

// startTemporal runs a Temporal server and its Web UI in this process.
func (n *node) startTemporal(ctx context.Context) error {
	host, port, err := hostPort("temporal-listen", n.opt.temporalListen)
	if err != nil {
		return err
	}
	uiHost, uiPort, err := hostPort("ui-listen", n.opt.uiListen)
	if err != nil {
		return err
	}
	if uiHost != host {
		return usagef("--ui-listen %s: the embedded Temporal and its Web UI listen on one host, and --temporal-listen says %s", n.opt.uiListen, host)
	}
	n.embedded, err = embedtemporal.Start(ctx, &embedtemporal.Options{
		DataDir: filepath.Join(n.opt.dataDir, "temporal"), Host: host, Port: port, UIPort: uiPort,
		Namespace: n.opt.temporalNamespace, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.uiURL = n.embedded.UIURL()
	n.started("Temporal", func(context.Context) error { return n.embedded.Stop() })
	go func() {
		<-n.embedded.Failed()
		n.fail(fmt.Errorf("the embedded Temporal has ended: %w", n.embedded.Err()))
	}()
	return nil
}

// hostPort cuts a listen address in two. Port 0 means a free one.
func hostPort(flag, address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, usagef("--%s %s: expected host:port", flag, address)
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, usagef("--%s %s: the port must be a number up to 65535", flag, address)
	}
	return host, port, nil
}

func (n *node) startWorker() error {
	f, err := flush.New(flush.Deps{Hot: n.db, Ledger: n.ledger, Stores: n.stores, Log: n.log})
	if err != nil {
		return err
	}
	w, err := worker.New(n.temporal, workflows.TaskQueue(n.installation.Name), activities.New(f, nil), &worker.Options{
		Slots: n.opt.slots, ShutdownTimeout: n.opt.shutdownTimeout, Logger: n.log, Build: versionText(),
	})
	if err != nil {
		return err
	}
	if err := w.Start(); err != nil {
		return err
	}
	n.started("worker", w.Stop)
	go func() {
		if err := <-w.Fatal(); err != nil {
			n.fail(fmt.Errorf("the worker was turned away by Temporal: %w", err))
		}
	}()
	return nil
}

// temporalError says what to do about a Temporal that does not answer.
func temporalError(address string, err error) error {
	return &unreachableError{
		what: "Temporal at " + address + " cannot be reached", err: err,
		hint: "check --temporal-address and --temporal-namespace; without them `spillway up` runs a Temporal of its own",
	}
}

// envLookup lets Temporal's own loader see the environment that the command was given.
type envLookup struct{ env *Env }

func (e envLookup) LookupEnv(key string) (string, bool) { return e.env.LookupEnv(key) }
func (e envLookup) Environ() []string                   { return e.env.Environ() }
