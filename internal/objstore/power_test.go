package objstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/objstore/disktest"
	"github.com/spillwaydb/spillway/internal/objstore/objstoretest"
)

const crashes = 40 // of each state of the disk

func onDisk(t testing.TB, d *disktest.Disk) objstore.Store {
	t.Helper()
	s, err := objstore.OpenLocal(context.Background(), "/mnt/store", d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newDisk is a disk whose mount point is durable, as that of a real one is.
func newDisk(t testing.TB) *disktest.Disk {
	t.Helper()
	d := disktest.New()
	must(t, d.Mkdir("/mnt"))
	must(t, d.SyncDir("/"))
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(s objstore.Store, key string) ([]byte, error) {
	obj, err := s.Open(context.Background(), key)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	return io.ReadAll(io.NewSectionReader(obj, 0, obj.Size()))
}

// The disk itself keeps the contract of a store, or what follows proves nothing.
func TestConformanceOfTheDisk(t *testing.T) {
	t.Parallel()
	unlike := func(*testing.T) (objstore.Store, string) { return nil, "TestDiskErrors has this disk fail" }
	objstoretest.Run(t, objstoretest.Harness{New: func(t *testing.T) objstore.Store { return onDisk(t, newDisk(t)) }, Full: unlike, ReadOnly: unlike})
}

// A10: whatever the moment at which the power goes, an object that was acknowledged is there and whole, and one that was not is whole or
// not there.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	data := bytes.Repeat([]byte("0123456789abcdef"), 300)
	old := []byte("the old content")
	for name, c := range map[string]struct {
		do       func(objstore.Store) error
		key      string
		replaces bool
	}{
		"put":          {func(s objstore.Store) error { return s.PutIfAbsent(ctx, "app/t/new/k", data) }, "app/t/new/k", false},
		"put at top":   {func(s objstore.Store) error { return s.PutIfAbsent(ctx, "k", data) }, "k", false},
		"put, old dir": {func(s objstore.Store) error { return s.PutIfAbsent(ctx, "app/k", data) }, "app/k", false},
		"create": {func(s objstore.Store) error {
			w, err := s.Create(ctx, "app/t/k")
			if err != nil {
				return err
			}
			defer w.Abort()
			for part := range bytes.SplitAfterSeq(data, []byte("f")) {
				if _, err := w.Write(part); err != nil {
					return err
				}
			}
			_, err = w.Commit(ctx)
			return err
		}, "app/t/k", false},
		"replace": {func(s objstore.Store) error { return s.Replace(ctx, "app/old", data) }, "app/old", true},
		"manifest": {func(s objstore.Store) error {
			w, err := s.(objstore.Replacer).CreateReplacing(ctx, "app/old")
			if err != nil {
				return err
			}
			defer w.Abort()
			if _, err = w.Write(data); err != nil {
				return err
			}
			_, err = w.Commit(ctx)
			return err
		}, "app/old", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 0; ; n++ {
				d := newDisk(t)
				s := onDisk(t, d)
				must(t, s.PutIfAbsent(ctx, "app/old", old))
				d.CutAt(n)
				err := c.do(s)
				if err != nil && !errors.Is(err, disktest.ErrNoPower) {
					t.Fatalf("after %d calls: %v", n, err)
				}
				for seed := range uint64(crashes) {
					got, readErr := content(onDisk(t, d.Crash(rand.New(rand.NewPCG(seed, uint64(n))))), c.key)
					switch {
					case bytes.Equal(got, data):
					case err == nil:
						t.Fatalf("acknowledged after %d calls, seed %d: %d of %d bytes, %v", n, seed, len(got), len(data), readErr)
					case c.replaces && bytes.Equal(got, old), !c.replaces && errors.Is(readErr, objstore.ErrNotExist):
					default:
						t.Fatalf("cut after %d calls, seed %d: torn: %d of %d bytes, %v", n, seed, len(got), len(data), readErr)
					}
				}
				if err == nil {
					t.Logf("%d calls, %d crashes", n, (n+1)*crashes)
					return
				}
			}
		})
	}
}

// A store that did not sync would be found out: the disk itself, written without.
func TestPowerLossFindsWhatIsNotSynced(t *testing.T) {
	t.Parallel()
	for leftOut := range 3 {
		torn := 0
		for seed := range uint64(200) {
			d := newDisk(t)
			must(t, d.Mkdir("/mnt/store"))
			must(t, d.SyncDir("/mnt"))
			root, err := d.Root("/mnt/store")
			must(t, err)
			f, err := root.OpenFile("k", syscall.O_CREAT, 0)
			must(t, err)
			_, err = f.Write(bytes.Repeat([]byte("x"), 2000))
			must(t, err)
			if leftOut != 0 {
				must(t, f.Sync())
			}
			if leftOut != 1 {
				must(t, d.SyncDir("/mnt/store"))
			}
			got, _ := content(onDisk(t, d.Crash(rand.New(rand.NewPCG(seed, 1)))), "k")
			if !bytes.Equal(got, bytes.Repeat([]byte("x"), 2000)) {
				torn++
			}
		}
		if found := torn > 0; found != (leftOut < 2) {
			t.Errorf("with sync %d left out, %d of 200 crashes tore the file", leftOut, torn)
		}
	}
}

// A folder that was removed, and made anew by somebody who has not synced it yet, is not taken for the durable one that it was.
func TestFolderMadeAnewIsSynced(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	lost := 0
	for seed := range uint64(100) {
		d := newDisk(t)
		s := onDisk(t, d)
		must(t, s.PutIfAbsent(ctx, "app/t/first", nil))
		must(t, s.Delete(ctx, "app/t/first"))
		root, err := d.Root("/mnt/store")
		must(t, err)
		must(t, root.Remove("app/t"))
		must(t, d.SyncDir("/mnt/store/app"))
		must(t, root.Mkdir("app/t", 0))
		must(t, s.PutIfAbsent(ctx, "app/t/k", []byte("x")))
		if got, _ := content(onDisk(t, d.Crash(rand.New(rand.NewPCG(seed, 2)))), "app/t/k"); string(got) != "x" {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of 100 acknowledged objects were lost with their folder", lost)
	}
}

// A31: each call of the disk's fails in turn, once. What is acknowledged is there and whole; after an error the same store works on, and
// an object is whole or absent.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	data := bytes.Repeat([]byte("x"), 5000)
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EINTR} {
		for n := 1; ; n++ {
			d := newDisk(t)
			s := onDisk(t, d)
			must(t, s.PutIfAbsent(ctx, "app/before", nil))
			at, failed := 0, ""
			d.Fail(func(op, name string) error {
				if at++; at == n && op != "close" {
					failed = op + " " + name
					return errno
				}
				return nil
			})
			err := s.PutIfAbsent(ctx, "app/t/k", data)
			calls := at
			d.Fail(nil)
			if failed != "" && err != nil && !errors.Is(err, errno) {
				t.Errorf("%v at %s: the error %v does not say so", errno, failed, err)
			}
			if errors.Is(err, objstore.ErrFull) != (err != nil && (errno == syscall.ENOSPC || errno == syscall.EDQUOT)) {
				t.Errorf("%v at %s: the error %v is of the wrong kind", errno, failed, err)
			}
			got, readErr := content(s, "app/t/k")
			if whole := bytes.Equal(got, data); !whole && (err == nil || !errors.Is(readErr, objstore.ErrNotExist)) {
				t.Errorf("%v at %s: %v, and then %d bytes, %v", errno, failed, err, len(got), readErr)
			}
			if _, err := s.DeletePrefix(ctx, "app/t/k"); err != nil {
				t.Errorf("%v at %s: what is left cannot be swept: %v", errno, failed, err)
			}
			if left := everything(t, d); left != "./app/before" {
				t.Errorf("%v at %s: left %s", errno, failed, left)
			}
			must(t, s.PutIfAbsent(ctx, "app/t/k", data))
			if calls < n {
				break
			}
		}
	}
}

// everything lists the files of a disk, unfinished ones too.
func everything(t *testing.T, d *disktest.Disk) string {
	t.Helper()
	root, err := d.Root("/mnt/store")
	must(t, err)
	var files []string
	var walk func(dir string)
	walk = func(dir string) {
		f, err := root.Open(dir)
		must(t, err)
		for {
			entries, err := f.ReadDir(100)
			for _, e := range entries {
				if e.IsDir() {
					walk(dir + "/" + e.Name())
				} else {
					files = append(files, dir+"/"+e.Name())
				}
			}
			if err != nil {
				return
			}
		}
	}
	walk(".")
	return strings.Join(files, " ")
}

// The marker of a storage's owner survives, or is not there: never a marker that cannot be read.
func TestPowerLossOfTheOwnersMarker(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	ours := objstore.Owner{InstallationID: "0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", SystemIdentifier: "1", DatabaseOID: 5, Timeline: 1}
	other := objstore.Owner{InstallationID: "another", SystemIdentifier: "2", DatabaseOID: 5, Timeline: 1}
	for name, claim := range map[string]func(objstore.Store) error{
		"claim": func(s objstore.Store) error { return objstore.ClaimOwner(ctx, s, ours) },
		"adopt": func(s objstore.Store) error { return objstore.AdoptOwner(ctx, s, ours) },
	} {
		for n := 0; ; n++ {
			d := newDisk(t)
			s := onDisk(t, d)
			if name == "adopt" {
				must(t, objstore.ClaimOwner(ctx, s, other))
			}
			d.CutAt(n)
			err := claim(s)
			for seed := range uint64(crashes) {
				found, readErr := objstore.ReadOwner(ctx, onDisk(t, d.Crash(rand.New(rand.NewPCG(seed, 3)))))
				fine := found == ours || err != nil && (name == "adopt" && found == other || name == "claim" && errors.Is(readErr, fs.ErrNotExist))
				if !fine {
					t.Fatalf("%s, after %d calls, %v: found %s, %v", name, n, err, fmt.Sprint(found), readErr)
				}
			}
			if err == nil {
				break
			}
		}
	}
}
