package command

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
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
	stop := serveHTTP(ln, metricsHandler(func(context.Context) error { return trouble }), func(err error) { t.Error(err) })
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
	if err := stop(t.Context()); err != nil {
		t.Error(err)
	}
}
