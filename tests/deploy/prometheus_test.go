package deploy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/freeport"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
)

// prometheus is a real server that scrapes one Spillway and evaluates the alert rules, both each second.
type prometheus struct {
	t   *testing.T
	url string
}

func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not on this machine: the rules and panels are only read, and tried on samples if promtool is here")
	}
	port, err := freeport.Pick("127.0.0.1")
	must(t, err)
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n  - job_name: spillway\n    static_configs: [{targets: [%q]}]\n",
		filepath.Join(product.Root(), "deploy/prometheus/alerts.yml"), target)
	path := filepath.Join(dir, "prometheus.yml")
	must(t, os.WriteFile(path, []byte(config), 0o600))
	address := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(program, "--config.file="+path, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=warn")
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("prometheus: %s", text)
		}
	})
	return &prometheus{t: t, url: "http://" + address}
}

// get asks the HTTP API. ok is false while the server does not answer.
func (p *prometheus) get(path string, into any) (ok bool) {
	p.t.Helper()
	res, err := http.Get(p.url + "/api/v1/" + path)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(p.t, err)
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if res.StatusCode == http.StatusServiceUnavailable { // it starts
		return false
	}
	must(p.t, json.Unmarshal(text, &answer))
	if answer.Status != "success" {
		p.t.Errorf("%s: %s", path, answer.Error)
		return false
	}
	must(p.t, json.Unmarshal(answer.Data, into))
	return true
}

// series is how many results an expression has now.
func (p *prometheus) series(expr string) int {
	p.t.Helper()
	var found struct{ Result []json.RawMessage }
	p.get("query?query="+url.QueryEscape(expr), &found)
	return len(found.Result)
}

// firing are the alerts that fire now, by name, with what they say.
func (p *prometheus) firing() map[string]string {
	p.t.Helper()
	var found struct {
		Alerts []struct {
			State               string
			Labels, Annotations map[string]string
		}
	}
	p.get("alerts", &found)
	out := map[string]string{}
	for _, a := range found.Alerts {
		if a.State == "firing" {
			out[a.Labels["alertname"]] = a.Annotations["summary"] + "\n" + a.Annotations["description"]
		}
	}
	return out
}

func (p *prometheus) await(what string, cond func() bool) {
	p.t.Helper()
	if !await.Within(await.Patience, cond) {
		p.t.Fatalf("waited in vain: %s; firing: %v", what, p.firing())
	}
}

// A flush that fails makes the alerts fire that say so, one that works does not, and each panel of the dashboard has something to show, on a real Prometheus.
func TestAlertsAndDashboard(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.events AS SELECT i AS id, 'note ' || i AS note FROM generate_series(1, 3000) i", "CREATE TABLE app.broken AS SELECT * FROM app.events",
		"CREATE TABLE app.late AS SELECT * FROM app.events")
	grants := product.Run(t, binary, nil, "grants", "--database-url", db.SuperURL, "--role", db.Worker, "--reader", db.Owner, "--for", "app.events", "--for", "app.broken", "--for", "app.late")
	if grants.Code != 0 {
		t.Fatal(grants.Err)
	}
	db.Super(t, grants.Out)
	metrics, err := freeport.Pick("127.0.0.1")
	must(t, err)
	front, err := freeport.Pick("127.0.0.1")
	must(t, err)
	target := fmt.Sprintf("127.0.0.1:%d", metrics)
	p := startPrometheus(t, target)
	dir := t.TempDir()
	up := product.Start(t, binary, nil, "up", "--data-dir", dir, "--database-url", db.WorkerURL, "--temporal-listen", "127.0.0.1:0", "--ui-listen", "127.0.0.1:0",
		"--sql-listen", fmt.Sprintf("127.0.0.1:%d", front), "--metrics-listen", target, "--attempts", "2")
	up.Ready()
	p.await("two scrapes are in", func() bool { return p.series(`count_over_time(spillway_ready[1m]) > 1`) == 1 })

	owner, err := url.Parse(db.OwnerURL)
	must(t, err)
	owner.Host = fmt.Sprintf("127.0.0.1:%d", front)
	flush := func(table string) product.Result {
		return product.Run(t, binary, nil, "flush", "--sql-url", owner.String(), "--wait", table)
	}
	if r := flush("app.events"); r.Code != 0 {
		t.Fatalf("flush: %s", r.Err)
	}
	p.await("the flush is in", func() bool {
		return p.series(`increase(spillway_jobs_ended_total{status="completed",type="flush"}[5m]) > 0`) == 1
	})
	for name, text := range p.firing() {
		t.Errorf("all is well, and %s fires: %s", name, text)
	}

	// A file stands where the folder of the other table's segments has to be.
	must(t, os.WriteFile(filepath.Join(dir, "segments", "app", "broken"), nil, 0o600))
	if r := flush("app.broken"); r.Code != 1 {
		t.Fatalf("flush into a broken storage: exit code %d: %s", r.Code, r.Err)
	}
	p.await("SpillwayJobFailed fires", func() bool { return strings.Contains(p.firing()["SpillwayJobFailed"], "A job has failed: storage") })
	if p.series(`increase(spillway_jobs_ended_total{status="failed"}[24h]) > 0`) == 0 {
		t.Error("the panel of failed jobs does not count the job that failed")
	}

	// What panels show only of what did not happen here.
	quiet := []string{"Live jobs by state", "Lag behind policy", "Temporal: failed requests per second"}
	for title, exprs := range panels(t) {
		for _, expr := range exprs {
			if n := p.series(expr); n == 0 && !slices.Contains(quiet, title) {
				t.Errorf("panel %q is empty: %s", title, expr)
			}
		}
	}
}

// panels are the expressions of the dashboard, by the titles of their panels.
func panels(t *testing.T) map[string][]string {
	t.Helper()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	must(t, json.Unmarshal([]byte(read(t, "deploy/grafana/dashboards/spillway.json")), &board))
	out := map[string][]string{}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			out[p.Title] = append(out[p.Title], strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
		}
	}
	return out
}
