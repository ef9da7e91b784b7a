package objstore_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/objstore/objstoretest"
)

func mountTmpfs(t *testing.T, options string) (dir, cannot string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		return "", fmt.Sprintf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir, ""
}

func readOnlyMount(t *testing.T) (objstore.Store, string) {
	t.Helper()
	dir, cannot := mountTmpfs(t, "size=1m")
	if cannot != "" {
		return nil, cannot
	}
	s, _ := withThere(t, dir)
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatalf("remount read-only: %v", err)
	}
	return s, ""
}

// The mode of the folder denies us. Root is above modes, so under root a thread gives its file access up first.
func TestDeniedByMode(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	s, _ := withThere(t, dir)
	chmod(t, dir, 0o555)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if os.Geteuid() == 0 {
			becomeNobody(t)
		}
		objstoretest.WantDenied(t, s)
		if _, err := objstore.Open(t.Context(), dir+"/below"); !errors.Is(err, objstore.ErrDenied) {
			t.Errorf("a store in a closed folder: %v, want ErrDenied", err)
		}
	}()
	<-done
}

// reachable is a temporary folder that every account may enter; t.TempDir is below one that only we may.
func reachable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "objstore-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// becomeNobody makes the file accesses of this goroutine those of an account without rights. The goroutine keeps its
// thread, which ends with it.
func becomeNobody(t *testing.T) {
	const nobody = 65534
	runtime.LockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0); errno != 0 {
		t.Errorf("setfsuid: %v", errno)
	}
}
