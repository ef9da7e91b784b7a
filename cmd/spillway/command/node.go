package command

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	sdk "go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/backing"
	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/internal/telemetry"
	"github.com/spillwaydb/spillway/internal/upkeep"
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
	store           objstore.Store // the default storage
	storage         string         // its location
	storageOptions  map[string]string
	stores          *settledStores
	installation    ledger.Installation
	temporal        sdk.Client
	embedded        *embedtemporal.Server   // nil: a cluster was given
	temporalStore   *embedtemporal.Postgres // nil: in the data directory
	standby         atomic.Pointer[string]  // what /readyz says of a process that waits for the store; nil: it does not
	uiURL           string
	namespace       string
	temporalAddress string
	jobs            *temporaljobs.Manager
	policies        atomic.Pointer[activities.Policies] // nil: this process has no worker
	spent           time.Duration                       // of --shutdown-timeout, before the worker was stopped
	metrics         *telemetry.Metrics
	metricsAt       net.Addr // where they are served; nil: nowhere
	span            obs.StartSpan
	tracing         *telemetry.Tracing // nil: no traces
	frontTLS        *tls.Config        // nil: none
	watches         []*watch
}

// part is something that runs and can be stopped.
type part struct {
	name string
	stop func(context.Context) error
}

func newNode(env *Env, opt *serverOptions) (*node, error) {
	// By default each process with a worker reads its whole executable, to name itself to Temporal by a checksum.
	sdkworker.SetBinaryChecksum(strings.TrimSpace("spillway " + versionText() + " " + builtFrom()))
	if err := opt.check(); err != nil {
		return nil, err
	}
	log, err := opt.logger(env.Stderr)
	if err != nil {
		return nil, err
	}
	front, err := frontTLS(opt.sqlCert, opt.sqlKey, log) // before anything slow is started
	if err != nil {
		return nil, err
	}
	n := &node{env: env, opt: opt, log: log, frontTLS: front, span: obs.NoSpan, failed: make(chan error, 8)}
	n.metrics = telemetry.New(versionText(), n.check)
	return n, nil
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
	lock, err := datadir.Lock(n.opt.dataDir)
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
		return nil, fail.Hint(fmt.Errorf("--%s: %w", flag, err), "stop what listens there, or choose another address with --%s", flag)
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
		return fail.Hint(fmt.Errorf("this database belongs to the installation %q, not %q", n.installation.Name, n.opt.installation),
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

// openStorage opens the default storage and refuses one that cannot be ours. It settles nothing: a start that fails later
// must not have fixed where segments go.
func (n *node) openStorage(ctx context.Context) error {
	location, options, err := n.defaultLocation(ctx)
	if err != nil {
		return err
	}
	if _, err := backing.CheckStorage(location, options); err != nil {
		return err
	}
	store, err := objstore.OpenWith(ctx, location, options)
	if err != nil {
		return err // it names the location
	}
	row, err := n.ledger.Storage(ctx, "")
	if err == nil {
		err = n.sameStorage(row, store)
	} else if errors.Is(err, ledger.ErrNotFound) {
		err = nil
	}
	if err != nil {
		return err
	}
	n.storageOptions = options
	ours, err := coldstore.OwnerOf(ctx, n.ledger)
	if err != nil {
		return err
	}
	if err := objstore.CheckOwner(ctx, store, ours); err != nil {
		return fmt.Errorf("open storage %s: %w", ledger.DefaultStorage, err)
	}
	n.store, n.storage = store, store.URL("")
	n.stores = &settledStores{Stores: coldstore.NewLedgerStores(n.ledger, nil), settled: make(chan struct{})}
	return nil
}

// settleStorage marks the default storage as ours and writes it into the ledger, for good. It is the last step of a start.
func (n *node) settleStorage(ctx context.Context) error {
	ours, err := coldstore.OwnerOf(ctx, n.ledger)
	if err != nil {
		return err
	}
	if err := objstore.ClaimOwner(ctx, n.store, ours); err != nil {
		return fmt.Errorf("open storage %s: %w", ledger.DefaultStorage, err)
	}
	row, err := n.ledger.EnsureDefaultBucket(ctx, n.storage, n.storageOptions)
	if err != nil {
		return err
	}
	if err := n.sameStorage(row, n.store); err != nil {
		return err // another process was faster, and was told another place
	}
	if stored, err := row.OptionMap(); err != nil || !maps.Equal(stored, n.storageOptions) {
		// The place is the same; how it is reached may change, and the newest word counts.
		if err := n.ledger.SetStorageOptions(ctx, row.Name, n.storageOptions); err != nil {
			return err
		}
	}
	close(n.stores.settled)
	return nil
}

func (n *node) sameStorage(row ledger.StorageRow, store objstore.Store) error {
	if row.Location == store.URL("") {
		return nil
	}
	return fail.Hint(fmt.Errorf("the storage of this database is %s, not %s", row.Location, store.URL("")),
		"leave --storage out: segments that are there would stay behind")
}

// settledStores lets a worker that is started already wait for the default storage to be settled.
type settledStores struct {
	coldstore.Stores
	settled chan struct{} // closed when it is
}

// Store implements coldstore.Stores.
func (s *settledStores) Store(ctx context.Context, name string) (objstore.Store, string, error) {
	select {
	case <-s.settled:
		return s.Stores.Store(ctx, name)
	case <-ctx.Done():
		return nil, "", context.Cause(ctx)
	}
}

// defaultLocation is --storage, or what the ledger has, or a folder in the data directory. Options that --storage does not
// give are those of the ledger.
func (n *node) defaultLocation(ctx context.Context) (string, map[string]string, error) {
	row, err := n.ledger.Storage(ctx, "")
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return "", nil, err
	}
	known, mapErr := row.OptionMap()
	switch {
	case mapErr != nil:
		return "", nil, mapErr
	case n.opt.storage != "":
		location, options, err := objstore.SplitOptions(n.opt.storage)
		if err == nil && options == nil {
			options = known
		}
		return location, options, err
	case err == nil:
		return row.Location, known, nil
	case n.opt.dataDir == "":
		return "", nil, fail.Hint(errors.New("this database has no storage yet"), "name one with --storage")
	}
	return filepath.Join(n.opt.dataDir, "segments"), nil, nil
}

// hostPort cuts a listen address in two. Port 0 means a free one.
func hostPort(flag, address string) (string, int, error) {
	const example = "an address looks like 127.0.0.1:7432 or [::1]:7432; 0.0.0.0 is every IPv4 address of this machine, port 0 a free one"
	host, text, err := net.SplitHostPort(address)
	if err != nil || strings.ContainsAny(host, " /@?#") {
		return "", 0, &fail.Usage{Msg: fmt.Sprintf("--%s %q: expected host:port", flag, address), Todo: example}
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, &fail.Usage{Msg: fmt.Sprintf("--%s %q: the port must be a number up to 65535", flag, address), Todo: example}
	}
	return host, int(port), nil
}

func (n *node) startWorker() error {
	f, err := flush.New(flush.Deps{Hot: n.db, Ledger: n.ledger, Stores: n.stores, Log: n.log, Meter: n.metrics, Span: n.span})
	if err != nil {
		return err
	}
	checker, err := coldstore.NewChecker(n.ledger, n.log)
	if err != nil {
		return err
	}
	tries, err := activities.NewStorages(checker)
	if err != nil {
		return err
	}
	policies, err := n.watchPolicies()
	if err != nil {
		return err
	}
	runs, err := n.scheduleRuns()
	if err != nil {
		return err
	}
	acts := activities.New(f, &activities.Options{Keeper: upkeep.New(n.ledger, n.stores, n.log)})
	n.metrics.OfJobs(n.opt.slots, func() int { return len(activities.RunningChunks(acts)) }, jobstep.Classes())
	w, err := worker.New(n.temporal, workflows.TaskQueue(n.installation.Name), acts, &worker.Options{
		Slots: n.opt.slots, ShutdownTimeout: n.opt.shutdownTimeout, Logger: n.log, Build: versionText(), Storages: tries, Policies: policies, Schedules: runs,
		Failed: n.metrics.StepFailed,
	})
	if err != nil {
		return err
	}
	if err := w.Start(); err != nil {
		return err
	}
	n.startSweeper(f)
	if err := n.startReconciler(); err != nil {
		return err
	}
	n.started("worker", func(ctx context.Context) error {
		if n.spent > 0 {
			left, cancel := context.WithTimeout(ctx, max(n.opt.shutdownTimeout-n.spent, time.Second))
			defer cancel()
			ctx = left
		}
		return w.Stop(ctx)
	})
	go func() {
		if err := <-w.Fatal(); err != nil {
			n.fail(fmt.Errorf("the worker was turned away by Temporal: %w", err))
		}
	}()
	return nil
}
