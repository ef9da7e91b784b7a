package command

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/obs"
)

func TestMetricsListener(t *testing.T) {
	t.Parallel()
	var trouble error
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := serveHTTP(ln, metricsHandler(func() error { return trouble }), func(err error) { t.Error(err) })
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
	get("/metrics", 200, obs.MetricReady+" 1", obs.MetricBuildInfo+"{version=", "go_goroutines")
	trouble = errors.New("the database does not answer")
	get("/healthz", 200, "ok")
	get("/readyz", 503, "not ready: the database does not answer")
	get("/metrics", 200, obs.MetricReady+" 0")
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
