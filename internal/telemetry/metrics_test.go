package telemetry

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/spillwaydb/spillway/internal/obs"
)

// full returns metrics of a process that is all there is, each of them touched.
func full(t *testing.T) *Metrics {
	t.Helper()
	m := New("v1", func() error { return nil })
	m.OfJobs(4, func() int { return 1 }, map[string]bool{"storage": true, "refused": false})
	m.OfFront(func() int { return 2 })
	m.OfPool(func() PoolStat { return PoolStat{Idle: 1, Used: 2, Max: 10, Waits: 3, Waited: time.Second} })
	m.OfSources(Sources{
		Health: func(context.Context) (Health, error) { return Health{Findings: map[string]int64{"stray": 1}}, nil },
		Jobs:   func(context.Context) ([]JobCount, error) { return []JobCount{{"flush", "paused", 1}}, nil },
		Lags:   func(context.Context, int) ([]Lag, int, error) { return []Lag{{"app.t", 7}}, 1, nil },
	})
	m.Chunk("flush", "committed", time.Second)
	m.Moved("flush", 10, 100)
	m.Committed("flush", time.Millisecond)
	m.Uploaded("flush", time.Millisecond)
	m.Ended("flush", "failed", "storage")
	m.StepFailed("storage", true)
	m.Statement("FLUSH", time.Millisecond, true)
	m.Relayed()
	return m
}

// gather returns our own metrics by name.
func gather(t *testing.T, g prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	list, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.MetricFamily{}
	for _, f := range list {
		if strings.HasPrefix(f.GetName(), "spillway_") {
			out[f.GetName()] = f
		}
	}
	return out
}

// TestMetricsAreListed compares what a process shows with what internal/obs names.
func TestMetricsAreListed(t *testing.T) {
	t.Parallel()
	shown := gather(t, full(t).Gatherer())
	for _, d := range obs.Metrics() {
		f := shown[d.Name]
		if f == nil {
			t.Errorf("%s is named and never shown", d.Name)
			continue
		}
		delete(shown, d.Name)
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		want := slices.Sorted(slices.Values(d.Labels))
		if typ := strings.ToLower(f.GetType().String()); typ != d.Type || !slices.Equal(labels, want) {
			t.Errorf("%s is a %s with labels %q, want a %s with %q", d.Name, typ, labels, d.Type, want)
		}
		if f.GetHelp() != d.Help {
			t.Errorf("%s says %q", d.Name, f.GetHelp())
		}
	}
	for name := range shown {
		t.Errorf("%s is shown and not listed in obs.Metrics", name)
	}
}

// TestMetricsAreDocumented compares docs/metrics.md with internal/obs, both ways.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `(spillway_[a-z_]+)` \\| (\\w+) \\| ([^|]*) \\| ([^|]+) \\| ([^|]+) \\|$")
	documented := map[string][]string{}
	for _, r := range row.FindAllStringSubmatch(string(page), -1) {
		if documented[r[1]] != nil {
			t.Errorf("%s is documented twice", r[1])
		}
		documented[r[1]] = r[2:]
	}
	for _, d := range obs.Metrics() {
		r := documented[d.Name]
		if r == nil {
			t.Errorf("%s is not documented: | `%s` | %s | %s | %s | what to do |", d.Name, d.Name, d.Type, labelsText(d), d.Help)
			continue
		}
		delete(documented, d.Name)
		if r[0] != d.Type || r[1] != labelsText(d) {
			t.Errorf("%s is documented as a %s with %s, and is a %s with %s", d.Name, r[0], r[1], d.Type, labelsText(d))
		}
	}
	for name := range documented {
		t.Errorf("%s is documented and does not exist", name)
	}
}

func labelsText(d obs.Metric) string {
	var list []string
	for _, l := range d.Labels {
		list = append(list, "`"+l+"`")
	}
	return strings.Join(list, ", ")
}

// TestSourcesAreAskedSeldom lets many scrapes come at once: each source is asked once, one that fails too.
func TestSourcesAreAskedSeldom(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := map[string]int{}
	ask := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		asked[name]++
	}
	m := New("v1", func() error { return nil })
	m.OfSources(Sources{
		Health: func(context.Context) (Health, error) { ask("ledger"); return Health{}, errors.New("down") },
		Jobs:   func(context.Context) ([]JobCount, error) { ask("jobs"); return nil, nil },
		Lags: func(_ context.Context, most int) ([]Lag, int, error) {
			ask("policies")
			list := make([]Lag, 10*most) // more than was asked for
			for i := range list {
				list[i] = Lag{Table: "app.t" + strings.Repeat("x", i), Seconds: float64(len(list) - i)}
			}
			return list, len(list), nil
		},
		Keep: time.Hour,
	})
	h := m.Handler()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil)) })
	}
	all.Wait()
	shown := gather(t, m.Gatherer())
	for _, name := range []string{"ledger", "jobs", "policies"} {
		if asked[name] != 1 {
			t.Errorf("%s was asked %d times", name, asked[name])
		}
	}
	if shown[obs.OpenAttempts.Name] != nil {
		t.Error("a ledger that does not answer still has attempts")
	}
	ok := map[string]float64{}
	for _, x := range shown[obs.ReadOK.Name].GetMetric() {
		ok[x.GetLabel()[0].GetValue()] = x.GetGauge().GetValue()
	}
	if ok["ledger"] != 0 || ok["jobs"] != 1 || ok["policies"] != 1 {
		t.Errorf("read_ok: %v", ok)
	}
	if n := len(shown[obs.PolicyLag.Name].GetMetric()); n != maxLags {
		t.Errorf("%d tables have a lag of their own, want %d at most", n, maxLags)
	}
	if behind, most := shown[obs.PoliciesBehind.Name].GetMetric()[0].GetGauge().GetValue(), shown[obs.PolicyLagMax.Name].GetMetric()[0].GetGauge().GetValue(); behind != 500 || most != 500 {
		t.Errorf("%v tables are behind, %v s at most", behind, most)
	}
}

// TestSlowSource shows that a source which hangs holds a scrape up for no longer than its timeout.
func TestSlowSource(t *testing.T) {
	t.Parallel()
	m := New("v1", func() error { return nil })
	m.OfSources(Sources{
		Health:  func(ctx context.Context) (Health, error) { <-ctx.Done(); return Health{}, ctx.Err() },
		Timeout: 10 * time.Millisecond,
	})
	if shown := gather(t, m.Gatherer()); shown[obs.ReadOK.Name].GetMetric()[0].GetGauge().GetValue() != 0 {
		t.Error("a source that hangs counts as read")
	}
}

// TestMeter shows metrics of a library beside ours, counters that only rise among them.
func TestMeter(t *testing.T) {
	t.Parallel()
	m := New("v1", func() error { return nil })
	meter, err := m.Meter()
	if err != nil {
		t.Fatal(err)
	}
	c, err := meter.Int64Counter("temporal_request")
	if err != nil {
		t.Fatal(err)
	}
	c.Add(t.Context(), 2)
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if text := rec.Body.String(); !strings.Contains(text, "\ntemporal_request_total 2\n") || strings.Contains(text, "otel_scope") || strings.Contains(text, "target_info") {
		t.Error(text)
	}
}
