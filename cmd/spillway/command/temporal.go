package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	sdk "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/temporalconn"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/internal/option"
	"github.com/spillwaydb/spillway/internal/restore"
	"github.com/spillwaydb/spillway/internal/upkeep"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/worker"
	"github.com/spillwaydb/spillway/workflows"
)

// New search attributes take a second or two to be known everywhere, on a large cluster more.
const attributesTimeout = time.Minute

// openTemporal connects to Temporal, starting one in this process if embed is set and none was named.
func (n *node) openTemporal(ctx context.Context, embed bool) error {
	opts, err := n.temporalOptions(embed)
	if err != nil {
		return err
	}
	n.uiURL = strings.TrimSuffix(n.opt.temporalUI, "/")
	if embed && opts.HostPort == "" {
		if n.uiURL != "" {
			return fail.Usagef("--temporal-ui-url belongs to a cluster: name it with --temporal-address, or leave the flag out for the Web UI of the embedded Temporal")
		}
		if err := n.startTemporal(ctx); err != nil {
			return err
		}
		opts = sdk.Options{HostPort: n.embedded.Address(), Namespace: n.embedded.Namespace(), Logger: opts.Logger,
			WorkerHeartbeatInterval: opts.WorkerHeartbeatInterval,
			// Both ends are this process: packing each message would be a good part of what a small one costs.
			ConnectionOptions: sdk.ConnectionOptions{GrpcCompression: &sdk.GrpcCompressionNone{}}}
	}
	if opts.HostPort == "" {
		opts.HostPort = sdk.DefaultHostPort
	}
	n.namespace, n.temporalAddress = opts.Namespace, opts.HostPort
	if err := n.observe(&opts); err != nil {
		return err
	}
	if n.temporal, _, err = temporalconn.Dial(ctx, opts); err != nil {
		return err
	}
	n.started("Temporal client", func(context.Context) error { n.temporal.Close(); return nil })
	if err := n.ensureAttributes(ctx); err != nil {
		return err
	}
	tuning := workflows.Tuning{Attempts: n.opt.attempts, Heartbeat: n.opt.heartbeat}
	n.jobs, err = temporaljobs.New(n.temporal, n.ledger, &temporaljobs.Options{
		Installation: n.installation.Name, Namespace: n.namespace, UIBaseURL: n.uiURL, Retention: n.opt.retention, Span: n.span,
		Types: map[jobmanager.JobType]temporaljobs.Type{
			workflows.CleanupType: temporaljobs.Cleanup(validateBy(upkeep.CheckCleanup), tuning),
			workflows.FlushType:   temporaljobs.Flush(validateFlush, tuning),
			workflows.RestoreType: temporaljobs.Restore(validateRestore, tuning),
			workflows.VerifyType:  temporaljobs.Verify(validateBy(upkeep.CheckVerify), tuning),
		},
	})
	return err
}

// ensureAttributes registers the search attributes that the namespace lacks.
func (n *node) ensureAttributes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attributesTimeout)
	defer cancel()
	err := embedtemporal.EnsureSearchAttributes(ctx, n.temporal, n.namespace, workflows.SearchAttributes())
	return temporalconn.AttributesError(n.temporalAddress, err)
}

// validateFlush refuses parameters that no flush can have, before there is a job.
func validateFlush(spec jobmanager.JobSpec) error {
	return validateBy(func(params map[string]string) error {
		_, err := flush.ParseOptions(params)
		return err
	})(spec)
}

// validateRestore refuses parameters that no restore can have.
func validateRestore(spec jobmanager.JobSpec) error {
	return validateBy(func(params map[string]string) error {
		_, err := restore.ParseOptions(params)
		return err
	})(spec)
}

// validateBy refuses parameters that check refuses.
func validateBy(check func(params map[string]string) error) func(jobmanager.JobSpec) error {
	return func(spec jobmanager.JobSpec) error {
		err := check(spec.Params)
		var bad *option.Error
		if errors.As(err, &bad) {
			return &jobmanager.SpecError{Param: bad.Option, Item: bad.Item, Msg: bad.Msg, Hint: bad.Hint}
		}
		return err
	}
}

// temporalOptions reads Temporal's own variables and profiles; our flags stand above them. Where a Temporal would be
// embedded, only a profile that was named counts: a file for other programs must not change what `up` does.
func (n *node) temporalOptions(embed bool) (sdk.Options, error) {
	_, profile := n.env.LookupEnv("TEMPORAL_PROFILE")
	file, named := n.env.LookupEnv("TEMPORAL_CONFIG_FILE")
	if _, err := os.Stat(file); file != "" && errors.Is(err, fs.ErrNotExist) { // the loader would pass over it in silence
		return sdk.Options{}, fail.Usagef("TEMPORAL_CONFIG_FILE names %s, and there is no such file", file)
	}
	opts, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{
		EnvLookup: envLookup{n.env}, DisableFile: embed && !profile && !named, ConfigFileStrict: named,
	})
	if err != nil {
		return opts, fail.Usagef("Temporal's environment variables or profile: %v", err)
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
		return fail.Usagef("--ui-listen %s: the embedded Temporal and its Web UI listen on one host, and --temporal-listen says %s", n.opt.uiListen, host)
	}
	n.embedded, err = embedtemporal.Start(ctx, &embedtemporal.Options{
		DataDir: filepath.Join(n.opt.dataDir, "temporal"), Host: host, Port: port, UIPort: uiPort,
		Namespace: n.opt.temporalNamespace, Logger: n.log, Store: n.temporalStore,
		Retention: n.opt.temporalRetention,
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

// envLookup lets Temporal's own loader see the environment that the command was given.
type envLookup struct{ env *Env }

func (e envLookup) LookupEnv(key string) (string, bool) { return e.env.LookupEnv(key) }
func (e envLookup) Environ() []string                   { return e.env.Environ() }
