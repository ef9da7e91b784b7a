package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The unit starts a command line that the real command takes, waits longer for its end than that does, and lets it do little.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	unit := read(t, "deploy/systemd/spillway.service")
	value := func(key string) string {
		m := regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindStringSubmatch(unit)
		if m == nil {
			t.Fatalf("the unit has no %s", key)
		}
		return m[1]
	}
	words := strings.Fields(value("ExecStart"))
	if words[0] != "/usr/local/bin/spillway" {
		t.Errorf("ExecStart begins with %s", words[0])
	}
	environ := map[string]string{}
	for line := range strings.Lines(read(t, "deploy/systemd/spillway.env.example")) {
		if name, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			environ[name] = v
		}
	}
	args := words[1:]
	var shutdown time.Duration
	for i, w := range args {
		switch w {
		case "--shutdown-timeout":
			d, err := time.ParseDuration(args[i+1])
			must(t, err)
			shutdown = d
		case "--data-dir":
			if args[i+1] != "/var/lib/"+value("StateDirectory") {
				t.Errorf("the data directory %s is not the StateDirectory", args[i+1])
			}
			args[i+1] = t.TempDir()
		}
	}
	delete(environ, "SPILLWAY_STORAGE") // a bucket, which is looked at before the database
	checkCommand(t, args, environ)
	stop, err := time.ParseDuration(strings.ReplaceAll(strings.ReplaceAll(value("TimeoutStopSec"), "min", "m"), " ", ""))
	if err != nil || stop < shutdown+time.Minute || shutdown == 0 {
		t.Errorf("TimeoutStopSec %s, --shutdown-timeout %s: %v", stop, shutdown, err)
	}
	for key, want := range map[string]string{"User": "spillway", "NoNewPrivileges": "true", "ProtectSystem": "strict", "KillSignal": "SIGTERM", "Restart": "always",
		"CapabilityBoundingSet": "", "SystemCallErrorNumber": "EPERM"} {
		if got := value(key); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	verifyUnit(t, unit)
}

// verifyUnit lets systemd itself read the unit, with a program that is there.
func verifyUnit(t *testing.T, unit string) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here: systemd itself has not read the unit")
	}
	path := filepath.Join(t.TempDir(), "spillway.service")
	unit = strings.Replace(unit, "/usr/local/bin/spillway", binary, 1)
	must(t, os.WriteFile(path, []byte(unit), 0o644))
	if out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput(); err != nil || strings.Contains(string(out), "spillway.service:") {
		t.Errorf("systemd-analyze verify: %v: %s", err, out)
	}
}
