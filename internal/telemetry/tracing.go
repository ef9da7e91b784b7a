package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/spillwaydb/spillway/internal/obs"
)

// Protocols of OTLP, as OTEL_EXPORTER_OTLP_PROTOCOL names them.
const (
	ProtocolGRPC = "grpc"
	ProtocolHTTP = "http/protobuf"
)

// TracingOptions say where traces go.
type TracingOptions struct {
	Endpoint string // http://host:4317 or https://…; "": the standard variables OTEL_EXPORTER_OTLP_… say it
	Protocol string // default ProtocolGRPC
	Version  string // of this program
	Role     string // what this process is: up, worker, front
	Log      *slog.Logger
}

// CheckEndpoint refuses an address that no trace can go to.
func CheckEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("expected http://host:4317 or https://host:4317")
	}
	return nil
}

// Tracing sends spans to a collector, in the background: a collector that is slow or away holds nothing up. What else the
// standard variables say (headers, certificates, sampler, service name, resource attributes) counts.
type Tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// NewTracing begins to trace. It does not wait for the collector.
func NewTracing(ctx context.Context, opt TracingOptions) (*Tracing, error) {
	exporter, err := newExporter(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "spillway"), attribute.String("service.version", opt.Version), attribute.String("spillway.role", opt.Role),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	return newTracing(sdktrace.WithBatcher(&exporterLog{SpanExporter: exporter, log: opt.Log}), sdktrace.WithResource(res)), nil
}

func newTracing(opts ...sdktrace.TracerProviderOption) *Tracing {
	p := sdktrace.NewTracerProvider(opts...)
	return &Tracing{provider: p, tracer: p.Tracer("github.com/spillwaydb/spillway")}
}

func newExporter(ctx context.Context, opt TracingOptions) (sdktrace.SpanExporter, error) {
	switch opt.Protocol {
	case "", ProtocolGRPC:
		var o []otlptracegrpc.Option
		if opt.Endpoint != "" {
			o = append(o, otlptracegrpc.WithEndpointURL(opt.Endpoint))
		}
		return otlptracegrpc.New(ctx, o...)
	case ProtocolHTTP:
		var o []otlptracehttp.Option
		if opt.Endpoint != "" {
			o = append(o, otlptracehttp.WithEndpointURL(strings.TrimSuffix(opt.Endpoint, "/")+"/v1/traces"))
		}
		return otlptracehttp.New(ctx, o...)
	}
	return nil, fmt.Errorf("protocol %q: expected %s or %s", opt.Protocol, ProtocolGRPC, ProtocolHTTP)
}

// Tracer is for the Temporal SDK's interceptor.
func (t *Tracing) Tracer() trace.Tracer { return t.tracer }

// Close sends what is left, as long as ctx lets it.
func (t *Tracing) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// Start is an obs.StartSpan.
func (t *Tracing) Start(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, func(class string)) {
	kvs := make([]attribute.KeyValue, len(attrs))
	for i, a := range attrs {
		kvs[i] = keyValue(a)
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithAttributes(kvs...))
	return ctx, func(class string) {
		if class != "" {
			span.SetAttributes(attribute.String("spillway."+obs.KeyClass, class))
			span.SetStatus(codes.Error, class)
		}
		span.End()
	}
}

func keyValue(a slog.Attr) attribute.KeyValue {
	key := "spillway." + a.Key
	switch a.Value.Kind() {
	case slog.KindInt64:
		return attribute.Int64(key, a.Value.Int64())
	case slog.KindBool:
		return attribute.Bool(key, a.Value.Bool())
	default:
		return attribute.String(key, a.Value.String())
	}
}

// exporterLog says once when spans begin to get lost and once when they arrive again: a collector that is away is no reason for
// a line every few seconds.
type exporterLog struct {
	sdktrace.SpanExporter
	log  *slog.Logger
	lost atomic.Bool
}

func (e *exporterLog) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch was := e.lost.Swap(err != nil); {
	case err != nil && !was:
		e.log.Warn("traces do not arrive; spans are dropped", obs.KeyErr, err)
	case err == nil && was:
		e.log.Info("traces arrive again")
	}
	return nil // it was told
}
