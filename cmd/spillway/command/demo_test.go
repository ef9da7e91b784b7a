package command

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	env := testEnv(&out, &errOut)
	if code := Run(t.Context(), env, []string{"demo", "--rows", "30000"}); code != 0 {
		t.Fatalf("exit code %d:\n%s%s", code, out.String(), errOut.String())
	}
	mustContain(t, out.String(),
		"1. Start", "2. Make a table", "app=> FLUSH TABLE app.events WITH (", "KILL JOB 'flush:app.events:", " cancelled ", " completed ",
		"30 000 rows   content", "The proof holds", "manifest.json", "duckdb -c", "spillway cat app.events")
	if strings.Contains(out.String(), "faster than the KILL") {
		t.Error("the second flush was not killed in the middle")
	}
	dir := demoDir(t, out.String())
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder %s is still there: %v", dir, err)
	}
}

// The proof is computed from the files: without one of them, or with one twice, it fails.
func TestDemoWithoutAFile(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	d := demo{env: testEnv(&out, &errOut), rows: 5000, keep: true}
	d.beforeProof = func(files []string) {
		if err := os.Remove(files[len(files)/2]); err != nil {
			t.Error(err)
		}
	}
	err := d.run(t.Context())
	t.Cleanup(func() { os.RemoveAll(d.dir) })
	if code := ExitCode(err); code != 1 {
		t.Errorf("exit code %d (%v), want 1", code, err)
	}
	if err == nil || !strings.HasPrefix(err.Error(), "the proof does not hold: 5 000 rows were inserted, ") {
		t.Errorf("error %v", err)
	}
	mustContain(t, out.String(), "cannot be read: ", "no such file")
	if _, err := os.Stat(d.dir); err != nil {
		t.Errorf("--keep: %v", err)
	}
}

func demoDir(t *testing.T, out string) string {
	t.Helper()
	_, rest, ok := strings.Cut(out, " s in ")
	if !ok {
		t.Fatalf("no folder named in:\n%s", out)
	}
	dir, _, _ := strings.Cut(rest, "\n")
	return dir
}
