package telemetry

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/spillwaydb/spillway/internal/obs"
)

const (
	alertsFile    = "../../deploy/prometheus/alerts.yml"
	dashboardFile = "../../deploy/grafana/dashboards/spillway.json"
)

// alertExpressions returns the expression of each alert rule.
func alertExpressions(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Expr == "" || out[r.Alert] != "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("rule %q: it needs a name of its own, an expression, a severity, a summary and a description", r.Alert)
			}
			out[r.Alert] = r.Expr
		}
	}
	return out
}

// dashboardExpressions returns the expressions of each panel.
func dashboardExpressions(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	out, ids := map[string]string{}, map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: number %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		for i, target := range p.Targets {
			out[p.Title+" "+string(rune('A'+i))] = target.Expr
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
	}
	return out
}

var (
	// use is a metric of ours in an expression, with its matchers.
	use     = regexp.MustCompile(`(spillway_[a-z_]+)(\{[^}]*\})?`)
	matcher = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	by      = regexp.MustCompile(`by \(([^)]*)\)`)
	// foreign are metrics of others that an expression may use: of Prometheus itself, of Go and of Temporal's SDK.
	foreign = regexp.MustCompile(`\b(go|process|temporal)_[a-z_]+\b`)
)

// TestExpressionsUseWhatExists looks at every metric and label that an alert or a panel names.
func TestExpressionsUseWhatExists(t *testing.T) {
	t.Parallel()
	all := alertExpressions(t)
	if len(all) < 10 {
		t.Fatalf("%d alert rules were read, which cannot be all", len(all))
	}
	for name, expr := range dashboardExpressions(t) {
		all["panel "+name] = expr
	}
	for name, expr := range all {
		found := use.FindAllStringSubmatch(expr, -1)
		if len(found) == 0 && !foreign.MatchString(expr) && !strings.HasPrefix(expr, "up{") {
			t.Errorf("%s uses no metric: %s", name, expr)
		}
		var labels []string
		for _, f := range found {
			d, ok := described(f[1])
			if !ok {
				t.Errorf("%s uses %s, which does not exist", name, f[1])
				continue
			}
			labels = append(append(labels, d.Labels...), "le", "instance", "job")
			for _, m := range matcher.FindAllStringSubmatch(f[2], -1) {
				if !slices.Contains(d.Labels, m[1]) && m[1] != "job" {
					t.Errorf("%s: %s has no label %q", name, f[1], m[1])
				}
			}
		}
		for _, b := range by.FindAllStringSubmatch(expr, -1) {
			for _, l := range strings.Split(b[1], ", ") {
				if len(found) > 0 && !slices.Contains(labels, l) {
					t.Errorf("%s sums by %q, which none of its metrics has", name, l)
				}
			}
		}
	}
}

// described finds a metric by a name as expressions use it: a histogram is three.
func described(name string) (obs.Metric, bool) {
	for _, d := range obs.Metrics() {
		if d.Name == name && d.Type != "histogram" {
			return d, true
		}
		if base, ok := strings.CutPrefix(name, d.Name); ok && d.Type == "histogram" && slices.Contains([]string{"_bucket", "_count", "_sum"}, base) {
			return d, true
		}
	}
	return obs.Metric{}, false
}

// TestRulesCheck lets Prometheus' own tool read the rules, and plays them against samples of good and bad hours.
func TestRulesCheck(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not on this machine: the rules are read by our own test alone; .ci/run installs it")
	}
	for _, args := range [][]string{{"check", "rules", alertsFile}, {"test", "rules", "testdata/alerts_test.yml"}} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
}
