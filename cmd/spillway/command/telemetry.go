package command

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	sdk "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/internal/telemetry"
	"github.com/spillwaydb/spillway/jobmanager"
)

// The variables by which OpenTelemetry is set up everywhere. Those that say how (headers, certificates, sampler, names) are read by
// its own library.
const (
	envTracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	envEndpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envTracesProtocol = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	envProtocol       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	envTracesExporter = "OTEL_TRACES_EXPORTER"
	envSDKDisabled    = "OTEL_SDK_DISABLED"
)

// liveMost is how many live jobs one scrape counts one by one.
const liveMost = 5000

// startTracing traces if the flag or OpenTelemetry's own variables say so.
func (n *node) startTracing(ctx context.Context) error {
	opt, on, err := n.tracingOptions()
	if err != nil || !on {
		return err
	}
	t, err := telemetry.NewTracing(ctx, opt)
	if err != nil {
		return err
	}
	n.span, n.tracing = t.Start, t
	n.started("traces", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		return t.Close(ctx)
	})
	return nil
}

func (n *node) tracingOptions() (opt telemetry.TracingOptions, on bool, err error) {
	get := func(names ...string) string {
		for _, name := range names {
			if v, _ := n.env.LookupEnv(name); v != "" {
				return v
			}
		}
		return ""
	}
	opt = telemetry.TracingOptions{
		Endpoint: n.opt.otlpEndpoint, Protocol: get(envTracesProtocol, envProtocol), Version: versionText(), Role: n.opt.role, Log: n.log,
	}
	if opt.Endpoint == "" && (get(envTracesEndpoint, envEndpoint) == "" || get(envSDKDisabled) == "true") {
		return opt, false, nil
	}
	switch exporter := get(envTracesExporter); {
	case exporter == "none" && opt.Endpoint == "":
		return opt, false, nil
	case exporter != "" && exporter != "otlp" && exporter != "none":
		return opt, false, fail.Usagef("%s=%s: expected otlp or none", envTracesExporter, exporter)
	}
	if p := opt.Protocol; p != "" && p != telemetry.ProtocolGRPC && p != telemetry.ProtocolHTTP {
		return opt, false, fail.Usagef("%s=%s: expected %s or %s", envProtocol, p, telemetry.ProtocolGRPC, telemetry.ProtocolHTTP)
	}
	return opt, true, nil
}

// observe lets the Temporal SDK measure and trace what it does for us.
func (n *node) observe(opts *sdk.Options) error {
	meter, err := n.metrics.Meter()
	if err != nil {
		return err
	}
	opts.MetricsHandler = opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{
		Meter: meter, UseMonotonicCounters: true, OnError: func(err error) { n.log.Warn("a metric of the Temporal SDK is lost", obs.KeyErr, err) },
	})
	if n.tracing == nil {
		return nil
	}
	tracer, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{
		Tracer:              n.tracing.Tracer(),
		DisableQueryTracing: true, // each look at a job's progress is one
		// Only ids go into the headers of workflows, nothing that a caller may have put into its context.
		DisableBaggage:          true,
		AllowInvalidParentSpans: true, // a job may be older than what reads it
	})
	if err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	opts.Interceptors = append(opts.Interceptors, interceptor.ClientInterceptor(tracer))
	return nil
}

// measure adds what the ledger, Temporal and the pool of connections tell.
func (n *node) measure(context.Context) error {
	pool := n.db.Pool()
	n.metrics.OfPool(func() telemetry.PoolStat {
		s := pool.Stat()
		return telemetry.PoolStat{
			Idle: s.IdleConns(), Used: s.AcquiredConns(), Opening: s.ConstructingConns(), Max: s.MaxConns(),
			Waits: s.EmptyAcquireCount(), Waited: s.EmptyAcquireWaitTime(),
		}
	})
	n.metrics.OfSources(telemetry.Sources{Health: n.ledgerHealth, Jobs: n.liveJobs, Lags: n.policyLags, Log: n.log})
	return nil
}

func (n *node) ledgerHealth(ctx context.Context) (telemetry.Health, error) {
	h, err := n.ledger.Health(ctx)
	return telemetry.Health(h), err
}

func (n *node) liveJobs(ctx context.Context) ([]telemetry.JobCount, error) {
	counts, others, err := n.jobs.CountLive(ctx, liveMost)
	if err != nil {
		return nil, err
	}
	var list []telemetry.JobCount
	for _, c := range counts {
		list = append(list, telemetry.JobCount{Type: string(c.Type), Status: string(c.Status), Jobs: c.Jobs})
	}
	if others > 0 {
		list = append(list, telemetry.JobCount{Type: "other", Status: "uncounted", Jobs: others})
	}
	return list, nil
}

// policyLags tells how far tables are behind their flush policies. One process at a time watches them; others know of none behind.
func (n *node) policyLags(_ context.Context, most int) (furthest []telemetry.Lag, behind int, err error) {
	watching := n.policies.Load()
	if watching == nil {
		return nil, 0, nil
	}
	for _, l := range activities.PolicyLags(watching) {
		if l.Behind > 0 {
			furthest = append(furthest, telemetry.Lag{Table: jobmanager.Table{Namespace: l.Schema, Name: l.Table}.String(), Seconds: l.Behind.Seconds()})
		}
	}
	slices.SortFunc(furthest, func(a, b telemetry.Lag) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), strings.Compare(a.Table, b.Table))
	})
	behind = len(furthest)
	return furthest[:min(behind, most)], behind, nil
}
