package command

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/obs"
)

// spanCollector is an OpenTelemetry collector that keeps what it is sent.
type spanCollector struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []*trace.Span
	came  chan struct{}
}

func (c *spanCollector) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.GetResourceSpans() {
		for _, s := range r.GetScopeSpans() {
			c.spans = append(c.spans, s.GetSpans()...)
		}
	}
	select {
	case c.came <- struct{}{}:
	default:
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// startCollector serves OTLP by gRPC and returns its address.
func startCollector(t *testing.T) (*spanCollector, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &spanCollector{came: make(chan struct{}, 1)}
	s := grpc.NewServer()
	collector.RegisterTraceServiceServer(s, c)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	return c, "http://" + ln.Addr().String()
}

// await waits until the spans that have come satisfy done, which looks at all of them.
func (c *spanCollector) await(t *testing.T, done func([]*trace.Span) bool) []*trace.Span {
	t.Helper()
	late := time.After(patience)
	for {
		c.mu.Lock()
		spans := slices.Clone(c.spans)
		c.mu.Unlock()
		if done(spans) {
			return spans
		}
		select {
		case <-c.came:
		case <-late:
			var names []string
			for _, s := range spans {
				names = append(names, s.GetName())
			}
			t.Fatalf("spans are missing; these came: %q", names)
		}
	}
}

// One trace leads from the statement to the COMMIT of each chunk, and nothing that a user typed is in it.
func TestTraceOfAFlush(t *testing.T) {
	t.Parallel()
	c, address := startCollector(t)
	s := newSite(t, []string{"app.events"}, []string{
		"CREATE TABLE app.events (id int PRIMARY KEY, note text)",
		"INSERT INTO app.events SELECT i, 'hunter' || i FROM generate_series(1, 500) i",
	}, "--otlp-endpoint", address)
	r := s.spillway(t, "flush", "app.events", "--where", "id <= 400 AND note <> 'secretliteral'", "--wait")
	if r.code != 0 {
		t.Fatalf("flush: %s", r.errOut)
	}
	path := []string{obs.SpanCommit, obs.SpanMove, "RunActivity:MoveChunk", "StartActivity:MoveChunk", "RunWorkflow:FlushJob", "StartWorkflow:FlushJob", obs.SpanStartJob, obs.SpanStatement}
	spans := c.await(t, func(spans []*trace.Span) bool {
		return chain(spans, path) && chain(spans, append([]string{obs.SpanUpload}, path[1:]...))
	})
	for _, span := range spans {
		for _, typed := range []string{"secretliteral", "hunter", "WHERE ", "<= 400"} {
			if text := span.String(); strings.Contains(text, typed) {
				t.Errorf("%q is in a span: %s", typed, text)
			}
		}
	}
}

// chain reports whether a span of each name lies below one of the next.
func chain(spans []*trace.Span, names []string) bool {
	byID := map[string]*trace.Span{}
	for _, s := range spans {
		byID[string(s.GetSpanId())] = s
	}
	return slices.ContainsFunc(spans, func(s *trace.Span) bool {
		for i, name := range names {
			if s.GetName() != name {
				return false
			}
			parent := byID[string(s.GetParentSpanId())]
			if i < len(names)-1 && (parent == nil || string(parent.GetTraceId()) != string(s.GetTraceId())) {
				return false
			}
			s = parent
		}
		return true
	})
}

// samples are the values of a scrape, by name and labels as Prometheus writes them.
type samples map[string]float64

// scrape reads /metrics of a site.
func (s *site) scrape(t *testing.T) samples {
	t.Helper()
	up, err := datadir.FindUp(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(up.MetricsURL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var parser expfmt.TextParser
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := samples{}
	now := model.Now()
	for _, f := range families {
		vector, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{Timestamp: now}, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range vector {
			out[x.Metric.String()] = float64(x.Value)
		}
	}
	return out
}

// sum adds up the samples of a metric that have all of the labels, each written as name="value".
func (s samples) sum(name string, labels ...string) (total float64) {
	for key, v := range s {
		if key != name && !strings.HasPrefix(key, name+"{") {
			continue
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(key, l) }) {
			total += v
		}
	}
	return total
}

// A flush that works and one that fails both move what alerts and the dashboard look at.
func TestMetricsOfAFlush(t *testing.T) {
	t.Parallel()
	s := newSite(t, []string{"app.events", "app.broken"}, []string{
		"CREATE TABLE app.events (id int PRIMARY KEY, note text)",
		"INSERT INTO app.events SELECT i, 'note' FROM generate_series(1, 500) i",
		"CREATE TABLE app.broken AS SELECT * FROM app.events",
	}, "--attempts", "2")
	before := s.scrape(t)
	for _, want := range []string{
		obs.JobsEnded.Name + `{status="failed", type="flush"}`, obs.JobsFailed.Name + `{class="storage"}`, obs.RowsMoved.Name + `{type="flush"}`, obs.OpenAttempts.Name,
		obs.Findings.Name + `{kind="damaged"}`, obs.PoolMax.Name, obs.Slots.Name, obs.ReadOK.Name + `{source="jobs"}`, "go_goroutines", "process_cpu_seconds_total",
	} {
		if _, ok := before[want]; !ok {
			t.Errorf("%s is missing before the first job", want)
		}
	}
	if r := s.spillway(t, "flush", "app.events", "--where", "id <= 400", "--wait"); r.code != 0 {
		t.Fatalf("flush: %s", r.errOut)
	}
	// A file stands where the directory of the other table's segments has to be.
	if err := os.WriteFile(filepath.Join(s.dir, "segments", "app", "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.spillway(t, "flush", "app.broken", "--wait"); r.code != 1 {
		t.Fatalf("flush into a broken storage: exit code %d: %s", r.code, r.errOut)
	}
	after := s.scrape(t)
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{obs.JobsEnded.Name, []string{`type="flush"`, `status="completed"`}, 1},
		{obs.JobsEnded.Name, []string{`type="flush"`, `status="failed"`}, 1},
		{obs.JobsFailed.Name, []string{`class="storage"`}, 1},
		{obs.RowsMoved.Name, []string{`type="flush"`}, 400},
		{obs.StepFailures.Name, []string{`class="storage"`, `retryable="true"`}, 2},
		{obs.ChunkSeconds.Name + "_count", []string{`type="flush"`, `outcome="committed"`}, 1},
		{obs.ChunkSeconds.Name + "_count", []string{`type="flush"`, `outcome="failed"`}, 2},
		{obs.CommitSeconds.Name + "_count", []string{`type="flush"`}, 1},
		{obs.UploadSeconds.Name + "_count", []string{`type="flush"`}, 1},
		{obs.Statements.Name, []string{`kind="FLUSH"`, `outcome="ok"`}, 2},
		{"temporal_activity_execution_failed_total", []string{`activity_type="MoveChunk"`}, 2},
	} {
		if got := after.sum(c.name, c.labels...) - before.sum(c.name, c.labels...); got != c.want {
			t.Errorf("%s%q rose by %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	if after.sum(obs.BytesMoved.Name) <= 0 || after.sum(obs.Sessions.Name) < 0 {
		t.Errorf("bytes: %v", after.sum(obs.BytesMoved.Name))
	}
	for key := range after {
		if strings.Contains(key, "id <=") || strings.Contains(key, "flush:") || strings.Contains(key, s.db.Owner) {
			t.Errorf("a label holds what it must not: %s", key)
		}
	}
}
