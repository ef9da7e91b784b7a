package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/spillwaydb/spillway/"

// rooms says which packages of this module each room may import. A room is a folder; the longest entry that holds a package
// counts. internal/obs and internal/fault may be imported by all, and tests of a room by the room itself.
var rooms = map[string][]string{
	"cmd/spillway":         {"cmd/spillway/command"},
	"cmd/spillway/command": {"*"},

	"jobmanager":                         {},
	"jobmanager/jobmanagertest":          {"jobmanager"},
	"jobmanager/jobmanagertest/steptest": {"jobmanager", "jobmanager/jobmanagertest", "internal/jobstep", "internal/ledger"},
	"jobmanager/history":                 {"jobmanager", "internal/ledger"},
	"jobmanager/temporaljobs":            {"jobmanager", "jobmanager/history", "workflows", "internal/ledger"},
	"jobmanager/localjobs":               {"jobmanager", "jobmanager/history", "internal/flush", "internal/jobstep", "internal/ledger"},

	"sqlfront":        {"jobmanager", "sqlfront/parse", "sqlfront/pgwire"},
	"sqlfront/parse":  {},
	"sqlfront/pgwire": {"sqlfront/parse"},

	"workflows":  {"activities", "jobmanager"},
	"activities": {"internal/jobstep", "internal/policy", "internal/schedule"},
	"worker":     {"workflows", "activities"},

	"internal/flush": {"internal/jobstep", "internal/layout", "internal/option", "internal/restore", "internal/sweep", "internal/manifest", "internal/coldstore",
		"internal/hot", "internal/segment", "internal/ledger", "internal/objstore"},
	"internal/upkeep": {"internal/jobstep", "internal/layout", "internal/option", "internal/sweep", "internal/manifest", "internal/coldstore",
		"internal/segment", "internal/ledger", "internal/objstore"},
	"internal/sweep":     {"internal/coldstore", "internal/jobstep", "internal/ledger", "internal/objstore"},
	"internal/restore":   {"internal/jobstep", "internal/layout", "internal/option", "internal/hot", "internal/segment", "internal/ledger", "internal/objstore"},
	"internal/manifest":  {"internal/coldstore", "internal/jobstep", "internal/layout", "internal/segment", "internal/ledger", "internal/objstore"},
	"internal/coldstore": {"internal/jobstep", "internal/layout", "internal/ledger", "internal/objstore"},
	"internal/layout":    {"internal/option", "internal/hot", "internal/segment"},
	"internal/option":    {},
	"internal/jobstep":   {"internal/hot", "internal/segment", "internal/ledger", "internal/objstore"},
	"internal/hot":       {},
	"internal/segment":   {},
	"internal/ledger":    {},
	"internal/objstore":  {},
	"internal/policy":    {"internal/ledger", "internal/hot"},
	"internal/backing": {
		"sqlfront", "sqlfront/parse", "jobmanager", "jobmanager/temporaljobs", "workflows",
		"internal/flush", "internal/jobstep", "internal/layout", "internal/option", "internal/restore", "internal/upkeep", "internal/coldstore",
		"internal/hot", "internal/ledger", "internal/objstore", "internal/policy",
	},
	"internal/schedule":  {"internal/ledger", "jobmanager"},
	"internal/obs":       {},
	"internal/telemetry": {},
	"internal/fault":     {},

	"internal/embedtemporal":      {"internal/filelock", "internal/freeport"},
	"internal/embedpg":            {"internal/filelock", "internal/freeport"},
	"internal/objstore/cloudtest": {"internal/freeport"},
	"internal/filelock":           {},
	"internal/freeport":           {},

	"internal/cli/show":      {"internal/segment"},
	"internal/cli/sqlclient": {"internal/cli/show", "internal/cli/fail", "internal/cli/words", "internal/ledger", "sqlfront/parse"},
	"internal/cli/progress":  {"internal/cli/sqlclient", "internal/cli/show", "internal/cli/fail", "jobmanager"},
	"internal/cli/top":       {"internal/cli/progress", "internal/cli/sqlclient", "internal/cli/show", "internal/cli/fail", "jobmanager"},
	"internal/cli/shell":     {"internal/cli/sqlclient", "internal/cli/show", "internal/cli/fail", "internal/cli/words", "sqlfront/parse"},
	"internal/cli/uninstall": {
		"internal/cli/sqlclient", "internal/cli/show", "internal/cli/fail", "internal/manifest", "internal/layout", "internal/coldstore", "internal/hot", "internal/ledger", "internal/objstore", "workflows",
	},
	"internal/cli/doctor": {
		"internal/cli/datadir", "internal/cli/temporalconn", "internal/cli/sqlclient", "internal/cli/fail", "sqlfront/parse", "workflows",
		"internal/embedtemporal", "internal/coldstore", "internal/hot", "internal/ledger", "internal/objstore",
	},
	"internal/cli/cold":         {"internal/cli/sqlclient", "internal/cli/show", "internal/segment", "internal/objstore"},
	"internal/cli/grants":       {"internal/cli/sqlclient", "internal/cli/fail", "internal/hot", "internal/ledger", "sqlfront/parse"},
	"internal/cli/datadir":      {"internal/cli/fail", "internal/filelock"},
	"internal/cli/temporalconn": {"internal/cli/fail", "internal/embedtemporal"},
	"internal/cli/words":        {},
	"internal/cli/fail":         {},
	"internal/cli/clitest":      {},

	"tests": {"*"},
}

// outside says which rooms may import a library of others. The other rooms may not.
var outside = map[string][]string{
	"go.temporal.io/": {
		"workflows", "activities", "worker", "jobmanager/temporaljobs", "internal/embedtemporal", "internal/backing",
		"internal/cli/temporalconn", "internal/cli/doctor", "cmd/spillway/command", "tests",
	},
	"github.com/temporalio/": {"internal/embedtemporal"},
	"github.com/jackc/pgx/": {
		"internal/hot", "internal/ledger", "internal/embedpg", "internal/embedtemporal", "sqlfront", "sqlfront/pgwire",
		"internal/cli/show", "internal/cli/sqlclient", "internal/cli/progress", "internal/cli/top", "internal/cli/shell", "internal/cli/cold",
		"internal/cli/grants", "internal/cli/uninstall", "internal/cli/doctor", "cmd/spillway/command", "tests",
	},
	"github.com/parquet-go/":    {"internal/segment", "tests"},
	"github.com/spf13/cobra":    {"cmd/spillway/command"},
	"github.com/spf13/pflag":    {"cmd/spillway/command"},
	"go.yaml.in/":               {"cmd/spillway/command"},
	"golang.org/x/term":         {"internal/cli/progress", "internal/cli/shell", "cmd/spillway/command"},
	"github.com/prometheus/":    {"internal/telemetry", "tests"},
	"go.opentelemetry.io/":      {"internal/telemetry", "tests"},
	"github.com/duckdb/":        {"tests"},
	"github.com/aws/":           {"internal/objstore"},
	"cloud.google.com/":         {"internal/objstore"},
	"github.com/Azure/":         {"internal/objstore"},
	"pgregory.net/rapid":        {"tests"},
	"github.com/stretchr/":      {},
	"go.uber.org/":              {},
	"google.golang.org/grpc":    {"internal/embedtemporal", "jobmanager/temporaljobs", "internal/cli/temporalconn", "tests"},
	"database/sql":              {"internal/embedtemporal", "tests"},
	"testing":                   {"jobmanager/jobmanagertest", "tests"},
	"charm.land/":               {"internal/cli/top"},
	"github.com/charmbracelet/": {},
	"k8s.io/":                   {"tests"},
	"sigs.k8s.io/":              {"tests"},
}

// stdlibOnly lists rooms that import the standard library and this module alone.
var stdlibOnly = []string{"sqlfront/parse", "internal/option", "internal/obs", "internal/fault", "internal/cli/fail", "internal/cli/words"}

// forAll lists rooms that every room may import.
var forAll = []string{"internal/obs", "internal/fault"}

// forTests is how a package that only tests import is called: it may use testing and what the tests of its room may.
func forTests(pkg string) bool { return strings.HasSuffix(pkg, "test") }

type goPackage struct {
	ImportPath string
	Imports    []string // of its files that are no tests
}

// TestArrows reads what go list says of every package and names each import that a rule forbids.
func TestArrows(t *testing.T) {
	for _, p := range list(t) {
		pkg := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			if why := forbidden(pkg, imp); why != "" {
				t.Errorf("%s imports %s: %s", pkg, imp, why)
			}
		}
	}
}

// TestRules shows that the rules bite: each line is an import that must be refused, or must not.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		pkg, imp string
		ok       bool
	}{
		{"internal/segment", "github.com/parquet-go/parquet-go", true},
		{"internal/flush", "github.com/parquet-go/parquet-go", false},
		{"internal/segment", module + "internal/hot", false},
		{"internal/segment", module + "internal/obs", true},
		{"internal/objstore", module + "internal/fault", true},
		{"internal/hot", module + "internal/flush", false},
		{"activities", module + "internal/flush", false},
		{"internal/jobstep", module + "internal/flush", false},
		{"internal/upkeep", module + "internal/flush", false},
		{"internal/flush", module + "internal/upkeep", false},
		{"internal/flush", "go.temporal.io/sdk/temporal", false},
		{"sqlfront", module + "jobmanager/temporaljobs", false},
		{"sqlfront", module + "jobmanager", true},
		{"sqlfront/parse", "github.com/google/uuid", false},
		{"sqlfront", "go.opentelemetry.io/otel/trace", false},
		{"internal/telemetry", "go.temporal.io/sdk/client", false},
		{"internal/cli/top", "charm.land/bubbletea/v2", true},
		{"cmd/spillway/command", "charm.land/bubbletea/v2", false},
		{"sqlfront", "charm.land/lipgloss/v2", false},
		{"workflows", "github.com/jackc/pgx/v5", false},
		{"internal/embedpg/pgtest", "testing", true},
		{"internal/embedpg", "testing", false},
		{"tests/faults", module + "internal/segment", true},
		{"nowhere", "fmt", false},
	} {
		if why := forbidden(c.pkg, c.imp); (why == "") != c.ok {
			t.Errorf("%s importing %s: got %q, want allowed = %v", c.pkg, c.imp, why, c.ok)
		}
	}
}

// forbidden says why pkg may not import imp, or "".
func forbidden(pkg, imp string) string {
	room := roomOf(pkg)
	if room == "" {
		return "the folder is no known room; add it to the rules and to docs/architecture.md"
	}
	if own, ok := strings.CutPrefix(imp, module); ok {
		return forbiddenRoom(pkg, room, own)
	}
	for prefix, allowed := range outside {
		if imp != prefix && !strings.HasPrefix(imp, prefix) {
			continue
		}
		if prefix == "testing" && forTests(pkg) || slices.Contains(allowed, room) {
			continue
		}
		return fmt.Sprintf("only %s may", strings.Join(allowed, ", "))
	}
	if slices.Contains(stdlibOnly, room) && strings.Contains(strings.Split(imp, "/")[0], ".") {
		return "this room imports the standard library alone"
	}
	return ""
}

func forbiddenRoom(pkg, room, imp string) string {
	target := roomOf(imp)
	allowed := rooms[room]
	if slices.Contains(forAll, imp) || target == room || slices.Contains(allowed, "*") || slices.Contains(allowed, target) {
		return ""
	}
	if forTests(pkg) && strings.HasPrefix(pkg, target+"/") {
		return "" // a suite or a helper beside what it tests
	}
	return fmt.Sprintf("%s may import %s", room, strings.Join(append(slices.Clone(forAll), allowed...), ", "))
}

// roomOf returns the longest entry of rooms that holds pkg, or "".
func roomOf(pkg string) string {
	best := ""
	for room := range rooms {
		if (pkg == room || strings.HasPrefix(pkg, room+"/")) && len(room) > len(best) {
			best = room
		}
	}
	return best
}

// TestNoFaultsInTheProduct: only tests may make steps go wrong.
func TestNoFaultsInTheProduct(t *testing.T) {
	cmd := exec.Command("go", "list", "-f", `{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}`, module+"...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for file := range strings.Lines(string(out)) {
		file = strings.TrimSpace(file)
		if file == "" || strings.Contains(file, "/tests/") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("fault.With(")) {
			t.Errorf("%s gives a context a hook that makes steps go wrong: only tests may", file)
		}
	}
}

func list(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", module+"...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var ps []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	if len(ps) < 3 {
		t.Fatalf("go list found %d packages, which cannot be all", len(ps))
	}
	return ps
}
