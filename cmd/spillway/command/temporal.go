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

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	sdk "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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

const (
	temporalDialTimeout = 15 * time.Second
	// New search attributes take a second or two to be known everywhere, on a large cluster more.
	attributesTimeout = time.Minute
)

// openTemporal connects to Temporal, starting one in this process if embed is set and none was named.
func (n *node) openTemporal(ctx context.Context, embed bool) error {
	opts, err := n.temporalOptions(embed)
	if err != nil {
		return err
	}
	n.uiURL = strings.TrimSuffix(n.opt.temporalUI, "/")
	if embed && opts.HostPort == "" {
		if n.uiURL != "" {
			return usagef("--temporal-ui-url belongs to a cluster: name it with --temporal-address, or leave the flag out for the Web UI of the embedded Temporal")
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
	if n.temporal, _, err = connectTemporal(ctx, opts); err != nil {
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

// connectTemporal connects and looks the namespace up, so that a wrong one is an error now and not in the middle of a job.
// The error is *unreachableError.
func connectTemporal(ctx context.Context, opts sdk.Options) (sdk.Client, *workflowservice.DescribeNamespaceResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, temporalDialTimeout)
	defer cancel()
	c, err := sdk.DialContext(ctx, opts)
	if err != nil {
		return nil, nil, temporalError(opts, err)
	}
	ns, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: opts.Namespace})
	if err != nil {
		c.Close()
		return nil, nil, temporalError(opts, err)
	}
	return c, ns, nil
}

// ensureAttributes registers the search attributes that the namespace lacks.
func (n *node) ensureAttributes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attributesTimeout)
	defer cancel()
	err := embedtemporal.EnsureSearchAttributes(ctx, n.temporal, n.namespace, workflows.SearchAttributes())
	return attributesError(n.temporalAddress, err)
}

// attributesError says who can do what about search attributes that are missing.
func attributesError(address string, err error) error {
	var e *embedtemporal.SearchAttributesError
	if !errors.As(err, &e) {
		return err
	}
	command := embedtemporal.CreateCommand(e.Namespace, e.Missing) + " --address " + address
	var denied *serviceerror.PermissionDenied
	switch {
	case errors.Is(err, embedtemporal.ErrAttributeType):
		return hint(err, "give Spillway a namespace of its own with --temporal-namespace, or remove the attributes of that name")
	case errors.As(err, &denied):
		return hint(err, "let an administrator of the namespace run: %s", command)
	}
	return hint(err, "if the namespace has no room for more, remove attributes that nobody uses, or give Spillway a namespace of its own; then run: %s", command)
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
		return sdk.Options{}, usagef("TEMPORAL_CONFIG_FILE names %s, and there is no such file", file)
	}
	opts, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{
		EnvLookup: envLookup{n.env}, DisableFile: embed && !profile && !named, ConfigFileStrict: named,
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

// temporalError says what to do about a Temporal that does not answer, or does not let us in.
func temporalError(opts sdk.Options, err error) error {
	e := &unreachableError{what: "Temporal at " + opts.HostPort + " cannot be reached", err: err}
	var missing *serviceerror.NamespaceNotFound
	switch code := statusCode(err); {
	case errors.As(err, &missing):
		e.what, e.err = fmt.Sprintf("Temporal at %s has no namespace %q", opts.HostPort, opts.Namespace), nil
		e.hint = fmt.Sprintf("name another with --temporal-namespace, or create it: temporal operator namespace create --namespace %s --retention 168h --address %s",
			opts.Namespace, opts.HostPort)
	case code == codes.PermissionDenied, code == codes.Unauthenticated:
		e.what = fmt.Sprintf("Temporal at %s does not let us into the namespace %q", opts.HostPort, opts.Namespace)
		e.hint = "check TEMPORAL_API_KEY or the client certificate (TEMPORAL_TLS_CLIENT_CERT_PATH, TEMPORAL_TLS_CLIENT_KEY_PATH), and what it may do in the namespace"
	default:
		e.hint = connectHint(err, opts.ConnectionOptions.TLS != nil)
	}
	return e
}

// statusCode is the code of gRPC that Temporal's error stands for.
func statusCode(err error) codes.Code {
	var se serviceerror.ServiceError
	if errors.As(err, &se) {
		return se.Status().Code()
	}
	return status.Code(err)
}

// connectHint reads what went wrong between the two machines. Neither gRPC nor crypto/tls keeps a type for it that would
// arrive here, so that their words have to do.
func connectHint(err error, encrypted bool) string {
	text := err.Error()
	says := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	hungUp := says("server preface", "connection reset", "broken pipe", "EOF", "connection closed")
	switch {
	case says("first record does not look like a TLS handshake"):
		return "this Temporal speaks no TLS: leave TEMPORAL_TLS, TEMPORAL_API_KEY and certificates out, or set TEMPORAL_TLS=false"
	case says("remote error: tls: "), encrypted && hungUp:
		// A server that misses a client certificate says so after the client believes that all is well: its words may be lost.
		return "this Temporal may want a client certificate that it knows: TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH"
	case says("x509: ", "tls: "):
		return "check the server's certificate: TEMPORAL_TLS_SERVER_CA_CERT_PATH names who signed it, TEMPORAL_TLS_SERVER_NAME the name in it"
	case hungUp:
		return "if this Temporal speaks TLS, set TEMPORAL_TLS=true; also check --temporal-address"
	}
	return "check --temporal-address and --temporal-namespace; without them `spillway up` runs a Temporal of its own"
}

// envLookup lets Temporal's own loader see the environment that the command was given.
type envLookup struct{ env *Env }

func (e envLookup) LookupEnv(key string) (string, bool) { return e.env.LookupEnv(key) }
func (e envLookup) Environ() []string                   { return e.env.Environ() }
