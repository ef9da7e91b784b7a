package embedpg_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg"
)

// These tests set environment variables and therefore do not run in parallel.

func TestFindByEnvironment(t *testing.T) {
	found, err := embedpg.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if found.Major < embedpg.MinMajor || !strings.HasPrefix(found.Version, "1") {
		t.Errorf("found %+v", found)
	}
	t.Setenv(embedpg.BinEnv, found.Dir)
	again, err := embedpg.Find(t.Context())
	if err != nil || again != found {
		t.Errorf("by %s: %+v, %v", embedpg.BinEnv, again, err)
	}
	t.Setenv(embedpg.BinEnv, t.TempDir())
	if _, err := embedpg.Find(t.Context()); err == nil || !strings.Contains(err.Error(), embedpg.BinEnv) {
		t.Errorf("an empty folder: %v, want an error that names %s", err, embedpg.BinEnv)
	}
}

func TestFindRefusesOldVersion(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho 'postgres (PostgreSQL) 13.9'\n"
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(embedpg.BinEnv, dir)
	if _, err := embedpg.Find(t.Context()); err == nil || !strings.Contains(err.Error(), "13.9 is too old") {
		t.Errorf("got %v", err)
	}
	t.Setenv(embedpg.BinEnv, "")
	t.Setenv("PATH", dir) // an old one in PATH does not hide a good one elsewhere
	if b, err := embedpg.Find(t.Context()); err == nil && b.Dir == dir {
		t.Errorf("found %+v", b)
	} else if err != nil && !errors.Is(err, embedpg.ErrNoBinaries) {
		t.Errorf("got %v", err)
	}
}

// A temporary folder that is root's alone is passed over.
func TestClosedTMPDIR(t *testing.T) {
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", closed)
	srv := start(t, nil)
	inside := strings.HasPrefix(srv.DataDir(), closed)
	if root := os.Geteuid() == 0; inside == root {
		t.Errorf("folder %s, root %v", srv.DataDir(), root)
	}
}

// The user's own variables for clients must not leak into the server or into initdb.
func TestClientVariablesAreIgnored(t *testing.T) {
	t.Setenv("PGDATA", "/nonexistent")
	t.Setenv("PGPORT", "1")
	t.Setenv("PGOPTIONS", "-c work_mem=12MB")
	t.Setenv("LC_ALL", "xx_XX.nonsense")
	srv := start(t, nil)
	t.Setenv("PGOPTIONS", "")
	if got := query(t, srv.SuperURL("postgres"), "SHOW work_mem"); got != "4MB" {
		t.Errorf("work_mem = %s", got)
	}
}
