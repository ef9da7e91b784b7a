package objstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/objstore/objstoretest"
)

func open(t *testing.T, location string) objstore.Store {
	t.Helper()
	s, err := objstore.Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, objstoretest.Harness{
		New:      func(t *testing.T) objstore.Store { return open(t, t.TempDir()) },
		Full:     full,
		ReadOnly: readOnly,
	})
}

func full(t *testing.T) (objstore.Store, string) {
	dir, cannot := mountTmpfs(t, "size=1m")
	if cannot != "" {
		return nil, cannot
	}
	return open(t, dir), ""
}

func readOnly(t *testing.T) (objstore.Store, string) {
	if os.Geteuid() == 0 {
		return readOnlyMount(t) // root may write whatever the mode says
	}
	s, dir := withThere(t, t.TempDir())
	chmod(t, dir, 0o550)
	return s, ""
}

func withThere(t *testing.T, dir string) (objstore.Store, string) {
	t.Helper()
	s := open(t, dir)
	if err := s.PutIfAbsent(t.Context(), "there", []byte("old")); err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func chmod(t *testing.T, dir string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o750) })
}

func TestLocations(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for location, path := range map[string]string{
		base + "/a":                        base + "/a",
		"file://" + base + "/b":            base + "/b",
		"FILE://localhost" + base + "/c/":  base + "/c",
		"file://" + base + "/with%20space": base + "/with space",
		base + "/literal%20":               base + "/literal%20",
		base + "/made/on/the/way":          base + "/made/on/the/way",
	} {
		s := open(t, location)
		if got, ok := objstore.Path(s.URL("")); !ok || got != path {
			t.Errorf("%s opened %s, want %s", location, got, path)
		}
		if got, ok := objstore.Path(s.URL("x y/#1")); !ok || got != path+"/x y/#1" {
			t.Errorf("%s: URL of a key leads to %s", location, got)
		}
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			t.Errorf("%s: no folder %s: %v", location, path, err)
		}
	}
	for _, location := range []string{"", "s3://", "s3://key:secret@bucket/x", "s3://bucket/x?X-Amz-Signature=1", "s3://bucket/../x", "s3://bucket/a//b", "ftp://b", "file:x", "file://host/x", "file:///x?y", "file:///%zz", "nul\x00"} {
		_, err := objstore.Open(t.Context(), location)
		var bad *objstore.LocationError
		if !errors.As(err, &bad) {
			t.Errorf("Open(%q): %v, want *LocationError", location, err)
		}
	}
	if _, ok := objstore.Path("s3://bucket/x"); ok {
		t.Error("an s3 URL has a path")
	}
}

func TestRelativeLocation(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	s := open(t, "cold")
	t.Chdir("/") // the store stays where it was
	if err := s.PutIfAbsent(t.Context(), "k", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cold", "k")); err != nil {
		t.Error(err)
	}
}

func TestLocationIsAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, location := range []string{path, path + "/below"} {
		if _, err := objstore.Open(t.Context(), location); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("Open(%s): %v", location, err)
		}
	}
}

// No symbolic link leads out of the store, and none is an object.
func TestSymlinks(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	outside, inside := filepath.Join(base, "outside"), filepath.Join(base, "store")
	s := open(t, inside)
	ctx := t.Context()
	if err := os.Mkdir(outside, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"dir": outside, "up": "../outside", "file": filepath.Join(outside, "secret"), "dangling": filepath.Join(outside, "new"), "loop": "loop",
	} {
		if err := os.Symlink(target, filepath.Join(inside, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"dir/secret", "up/secret", "file", "dangling", "loop"} {
		if _, err := s.Open(ctx, key); err == nil {
			t.Errorf("Open(%s) follows a link", key)
		}
		if _, err := s.Stat(ctx, key); err == nil {
			t.Errorf("Stat(%s) follows a link", key)
		}
	}
	for _, key := range []string{"dir/k", "up/k", "dangling", "file", "loop/k"} {
		if err := s.PutIfAbsent(ctx, key, []byte("x")); err == nil {
			t.Errorf("PutIfAbsent(%s) follows a link", key)
		}
	}
	for _, key := range []string{"dir/secret", "up/secret"} {
		if err := s.Delete(ctx, key); err == nil {
			t.Errorf("Delete(%s) follows a link", key)
		}
		if _, err := s.DeletePrefix(ctx, key); err == nil {
			t.Errorf("DeletePrefix(%s) follows a link", key)
		}
	}
	for info, err := range s.List(ctx, "") {
		t.Errorf("List gives %+v, %v", info, err)
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		t.Errorf("outside there is now %v, %v", entries, err)
	}
}

func TestOtherFilesAreNoObjects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), "pipe"); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("Open of a pipe: %v", err)
	}
	for info, err := range s.List(t.Context(), "") {
		t.Errorf("List gives %+v, %v", info, err)
	}
}

// A process killed between link and unlink leaves the object under two names.
func TestLeftoverBesideItsObject(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.PutIfAbsent(t.Context(), "d/k", []byte("whole")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "d/k"), filepath.Join(dir, "d/.tmp-k-ABCDEFGHIJKL")); err != nil {
		t.Fatal(err)
	}
	n := 0
	for range s.List(t.Context(), "") {
		n++
	}
	if n != 1 {
		t.Errorf("%d objects listed, want 1", n)
	}
	if n, err := s.DeletePrefix(t.Context(), "d/k"); n != 2 || err != nil {
		t.Errorf("DeletePrefix = %d, %v, want both names", n, err)
	}
}

// The folder is renamed, or another file system is mounted over it, while an object is written: its URL would be wrong.
func TestReplacedDuringWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	w, err := s.Create(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context()); !errors.Is(err, objstore.ErrReplaced) {
		t.Errorf("Commit: %v, want ErrReplaced", err)
	}
	if _, err := os.Stat(filepath.Join(dir+".old", "k")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the object appeared all the same: %v", err)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.PutIfAbsent(t.Context(), "d/k", nil); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"d", "d/k"} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil || info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s: %v, %v: open to others", path, info.Mode(), err)
		}
	}
}
