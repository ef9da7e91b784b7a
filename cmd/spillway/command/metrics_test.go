package command

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/internal/telemetry"
)

func TestMetricsListener(t *testing.T) {
	t.Parallel()
	var trouble error
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready := func() error { return trouble }
	stop := serveHTTP(ln, metricsHandler(telemetry.New("v0", ready), ready, false), func(err error) { t.Error(err) })
	get := func(path string, want int, parts ...string) {
		t.Helper()
		resp, err := http.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s: status %d, %v, want %d", path, resp.StatusCode, err, want)
		}
		mustContain(t, string(body), parts...)
	}
	get("/healthz", 200, "ok")
	get("/readyz", 200, "ready")
	get("/metrics", 200, obs.Ready.Name+" 1", obs.BuildInfo.Name+"{version=", "go_goroutines")
	trouble = errors.New("the database does not answer")
	get("/healthz", 200, "ok")
	get("/readyz", 503, "not ready: the database does not answer")
	get("/metrics", 200, obs.Ready.Name+" 0")
	get("/debug/pprof/", 404)
	for _, c := range []struct {
		flags []string
		code  int
		says  string
	}{
		{[]string{"--metrics-listen", ln.Addr().String()}, 1, "spillway: not ready: the database does not answer"},
		{[]string{"--metrics-listen", ""}, 2, "expected host:port"},
		{[]string{"--metrics-listen", "127.0.0.1:0"}, 2, "port 0 names no process"},
		{[]string{"--metrics-listen", "127.0.0.1:1"}, 3, "connection refused\nhint: check that it runs"},
	} {
		if r := invoke(t, append([]string{"healthcheck"}, c.flags...)); r.code != c.code || !strings.Contains(r.errOut, c.says) {
			t.Errorf("healthcheck %q: exit code %d, want %d: %s", c.flags, r.code, c.code, r.errOut)
		}
	}
	trouble = nil
	// The environment of the process is all that a container's healthcheck needs.
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	if r := invoke(t, []string{"healthcheck"}, "SPILLWAY_METRICS_LISTEN=0.0.0.0:"+port); r.code != 0 || r.out != "ready\n" {
		t.Errorf("healthcheck: exit code %d: %q %s", r.code, r.out, r.errOut)
	}
	if err := stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// Profiles are served where they are asked for. The command line is not: a URL in a flag may hold a password.
func TestProfiles(t *testing.T) {
	t.Parallel()
	ready := func() error { return nil }
	h := metricsHandler(telemetry.New("v0", ready), ready, true)
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/heap": 200, "/debug/pprof/cmdline": 404, "/metrics": 200,
	} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if rec.Code != want {
			t.Errorf("%s: status %d, want %d", path, rec.Code, want)
		}
	}
	if r := invoke(t, []string{"up", "--pprof", "--metrics-listen", ""}); r.code != 2 || !strings.Contains(r.errOut, "--pprof needs an address") {
		t.Errorf("--pprof without an address: exit code %d: %s", r.code, r.errOut)
	}
}

// Where traces go is checked before anything is started, and an address with a password in it is not shown.
func TestTracingSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flag string
		vars []string
		on   bool
		says string
	}{
		{on: false},
		{vars: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317"}, on: true},
		{vars: []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:4317"}, on: true},
		{vars: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317", "OTEL_SDK_DISABLED=true"}, on: false},
		{vars: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317", "OTEL_TRACES_EXPORTER=none"}, on: false},
		{vars: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317", "OTEL_TRACES_EXPORTER=zipkin"}, says: "expected otlp or none"},
		{vars: []string{"OTEL_EXPORTER_OTLP_PROTOCOL=http/json"}, flag: "http://127.0.0.1:4318", says: "expected grpc or http/protobuf"},
		{flag: "http://127.0.0.1:4317", on: true},
		{flag: "127.0.0.1:4317", says: "--otlp-endpoint: expected http://host:4317"},
		{flag: "http://u:hunter2@127.0.0.1:4317", says: "--otlp-endpoint: expected http://host:4317"},
	} {
		vars := map[string]string{}
		for _, v := range c.vars {
			name, value, _ := strings.Cut(v, "=")
			vars[name] = value
		}
		n := &node{
			env: &Env{LookupEnv: func(name string) (string, bool) { v, ok := vars[name]; return v, ok }},
			opt: &serverOptions{otlpEndpoint: c.flag, role: "up", slots: 1, retention: defaultRetention, shutdownTimeout: 1},
		}
		err := n.opt.check()
		on := false
		if err == nil {
			_, on, err = n.tracingOptions()
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		if on != c.on || (c.says == "") != (err == nil) || !strings.Contains(text, c.says) || strings.Contains(text, "hunter2") {
			t.Errorf("%q %q: on %v, %v; want %v, %q", c.flag, c.vars, on, err, c.on, c.says)
		}
	}
}
