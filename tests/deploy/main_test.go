package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/tests/product"
)

var binary string

func TestMain(m *testing.M) { product.Main(m, &binary) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(product.Root(), path))
	must(t, err)
	return string(text)
}

var flagInHelp = regexp.MustCompile(`(?m)^ +(?:-\w, |   ? ?)?--([a-z-]+)`)

// flags returns the flags of a command of the real binary.
func flags(t testing.TB, command string) map[string]bool {
	t.Helper()
	r := product.Run(t, binary, nil, command, "--help")
	known := map[string]bool{}
	for _, m := range flagInHelp.FindAllStringSubmatch(r.Out, -1) {
		known[m[1]] = true
	}
	if r.Code != 0 || len(known) < 10 {
		t.Fatalf("%s --help: exit code %d, flags %v\n%s%s", command, r.Code, known, r.Out, r.Err)
	}
	return known
}

// checkCommand fails unless the real command takes the arguments and knows the flag behind each variable of ours. Nothing
// listens at the address of the database, so that a command line in order ends with exit code 3.
func checkCommand(t *testing.T, args []string, environ map[string]string) {
	t.Helper()
	known := flags(t, args[0])
	vars := []string{"SPILLWAY_DATABASE_URL=postgres://u:p@127.0.0.1:1/d?sslmode=disable", "HOME=" + t.TempDir()}
	for name, value := range environ {
		flag, ours := strings.CutPrefix(name, "SPILLWAY_")
		if ours && !known[strings.ReplaceAll(strings.ToLower(flag), "_", "-")] && !strings.HasPrefix(flag, "STORAGE_") { // SPILLWAY_STORAGE_…: keys that storages name
			t.Errorf("%s has no flag for the variable %s", args[0], name)
		}
		if ours && name != "SPILLWAY_DATABASE_URL" && !strings.Contains(name, "_TLS_") && !strings.HasSuffix(name, "_LISTEN") {
			vars = append(vars, name+"="+value)
		}
	}
	vars = append(vars, "SPILLWAY_SQL_LISTEN=127.0.0.1:0", "SPILLWAY_METRICS_LISTEN=127.0.0.1:0", "SPILLWAY_TEMPORAL_LISTEN=127.0.0.1:0", "SPILLWAY_UI_LISTEN=127.0.0.1:0",
		"SPILLWAY_DATA_DIR="+t.TempDir())
	if r := product.Run(t, binary, vars, args...); r.Code != 3 {
		t.Errorf("%q: exit code %d, want 3: %s", args, r.Code, r.Err)
	}
	if r := product.Run(t, binary, vars, append(args, "--no-such-flag")...); r.Code != 2 {
		t.Errorf("the check does not bite: exit code %d", r.Code)
	}
}
