package shell

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state", "spillway", "history")
	h, err := openHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"SELECT 1;\n", "SELECT 1;\n", "SELECT\n  2 -- two\n;\n", "SELECT 'a\nb';\n", "\n", `\x` + "\n",
		"ALTER ROLE x\nPASSWORD\n'geheim';\n", "CREATE STORAGE s LOCATION 's3://b' WITH (secret_access_key = 'geheim');\n",
		"CREATE SUBSCRIPTION s CONNECTION 'postgres://u:geheim@h/d';\n",
	} {
		if err := h.record(text); err != nil {
			t.Fatal(err)
		}
	}
	if h.Len() != 8 || h.At(0) != "CREATE SUBSCRIPTION s CONNECTION 'postgres://u:geheim@h/d';" || h.At(7) != "SELECT 1;" {
		t.Errorf("in memory: %q", h.entries)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "SELECT 1;\nSELECT 2 ;\nSELECT 'a\nb';\n\\x\n" {
		t.Errorf("in the file: %q, %v", text, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := openHistory(path)
	if err != nil || again.Len() != 5 {
		t.Errorf("read again: %q, %v", again.entries, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("SELECT 'long';\n", 2*historyLength+1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if again, err = openHistory(path); err != nil || again.Len() != historyLength {
		t.Errorf("cut: %d entries, %v", again.Len(), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() != historyLength*15 {
		t.Errorf("cut file: %v, %v", info, err)
	}
	if h, err := openHistory(filepath.Join(path, "history")); err == nil || h.record("SELECT 1;") != nil || h.Len() != 1 {
		t.Errorf("without a file: %v", err)
	}
}
