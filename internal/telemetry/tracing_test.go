package telemetry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/spillwaydb/spillway/internal/obs"
)

// TestSpans shows what a step becomes in a trace: below its caller, with its attributes, and with the class of its error alone.
func TestSpans(t *testing.T) {
	t.Parallel()
	kept := tracetest.NewInMemoryExporter()
	tr := newTracing(sdktrace.WithSyncer(kept))
	var start obs.StartSpan = tr.Start
	ctx, endOuter := start(t.Context(), obs.SpanMove, slog.String(obs.KeyJob, "flush:app.t:1"), slog.Int(obs.KeyChunk, 3), slog.Bool("whole", true))
	_, endInner := start(ctx, obs.SpanCommit)
	endInner("connection")
	endOuter("")
	spans := kept.GetSpans()
	if len(spans) != 2 {
		t.Fatalf("%d spans, want 2", len(spans))
	}
	inner, outer := spans[0], spans[1]
	if inner.Parent.SpanID() != outer.SpanContext.SpanID() || inner.SpanContext.TraceID() != outer.SpanContext.TraceID() {
		t.Error("the inner step is not below the outer one")
	}
	if inner.Status.Code != codes.Error || inner.Status.Description != "connection" || outer.Status.Code != codes.Unset {
		t.Errorf("status %v and %v", inner.Status, outer.Status)
	}
	var text []string
	for _, a := range outer.Attributes {
		text = append(text, string(a.Key)+"="+a.Value.String())
	}
	if got, want := strings.Join(text, " "), "spillway.job=flush:app.t:1 spillway.chunk=3 spillway.whole=true"; got != want {
		t.Errorf("attributes %s, want %s", got, want)
	}
	if err := tr.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// failing is an exporter that fails as often as it is told.
type failing struct {
	sdktrace.SpanExporter
	errs []error
}

func (f *failing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	err := f.errs[0]
	f.errs = f.errs[1:]
	return err
}

// TestLostSpans shows that an outage of the collector makes two lines, however long it is.
func TestLostSpans(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	away := errors.New("connection refused")
	e := &exporterLog{SpanExporter: &failing{errs: []error{nil, away, away, away, nil, nil}}, log: slog.New(slog.NewTextHandler(&log, nil))}
	for range 6 {
		if err := e.ExportSpans(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "connection refused") || !strings.Contains(log.String(), "traces arrive again") {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestCheckEndpoint(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"http://127.0.0.1:4317": true, "https://collector.example.com": true, "https://c/otlp": true, "127.0.0.1:4317": false, "": false,
		"grpc://c:4317": false, "http://": false, "http://u:p@c:4317": false, "http://c:4317/?x=1": false, "http://c:port": false,
	} {
		if err := CheckEndpoint(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, p := range []string{"", ProtocolGRPC, ProtocolHTTP, "http/json"} {
		tr, err := NewTracing(t.Context(), TracingOptions{Endpoint: "http://127.0.0.1:1", Protocol: p, Log: slog.New(slog.DiscardHandler)})
		if (err == nil) != (p != "http/json") {
			t.Errorf("protocol %q: %v", p, err)
		}
		if err == nil {
			if err := tr.Close(t.Context()); err != nil {
				t.Errorf("protocol %q: %v", p, err)
			}
		}
	}
}
