package objstoretest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
)

// Harness makes stores for the suite. What it cannot make, it says why: the subtest is then skipped with that reason.
type Harness struct {
	// New makes an empty store, removed when the test ends.
	New func(t *testing.T) objstore.Store

	// Full makes a store that has room for about 1 MiB, or says why it cannot.
	Full func(t *testing.T) (s objstore.Store, cannot string)

	// Slashes says that the store takes a backslash for a slash. It must refuse keys with one.
	Slashes bool

	// ReadOnly makes a store that holds the object "there" with the content "old" and refuses writes, or says why it
	// cannot.
	ReadOnly func(t *testing.T) (s objstore.Store, cannot string)
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	tests := []struct {
		name string
		run  func(t *testing.T, h Harness)
	}{
		{"CreateCommitRead", testCreateCommitRead},
		{"EmptyObject", testEmptyObject},
		{"LargeObject", testLargeObject},
		{"InvisibleBeforeCommit", testInvisible},
		{"WriterStates", testWriterStates},
		{"KeyTaken", testKeyTaken},
		{"ConcurrentCreate", testConcurrentCreate},
		{"ConcurrentFolders", testConcurrentFolders},
		{"PutIfAbsent", testPutIfAbsent},
		{"Replace", testReplace},
		{"ReplaceWhileRead", testReplaceWhileRead},
		{"ReplaceInPieces", testReplaceInPieces},
		{"Delete", testDelete},
		{"ListPrefix", testListPrefix},
		{"ListManyAndStop", testListMany},
		{"DeletePrefix", testDeletePrefix},
		{"CrashLeftovers", testCrashLeftovers},
		{"ZombieWriter", testZombieWriter},
		{"OddKeys", testOddKeys},
		{"BadKeys", testBadKeys},
		{"DeepKeys", testDeepKeys},
		{"ContextEnded", testContextEnded},
		{"Full", testFull},
		{"ReadOnly", testReadOnly},
		{"Owner", testOwner},
		{"OwnerRace", testOwnerRace},
		{"OwnerDamaged", testOwnerDamaged},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, h)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func create(t *testing.T, s objstore.Store, key string, data []byte) objstore.Writer {
	t.Helper()
	w, err := s.Create(t.Context(), key)
	must(t, err)
	t.Cleanup(func() { w.Abort() })
	n, err := w.Write(data)
	must(t, err)
	if n != len(data) {
		t.Fatalf("Write = %d, want %d", n, len(data))
	}
	return w
}

func put(t *testing.T, s objstore.Store, key, data string) {
	t.Helper()
	_, err := create(t, s, key, []byte(data)).Commit(t.Context())
	must(t, err)
}

func read(ctx context.Context, s objstore.Store, key string) ([]byte, error) {
	obj, err := s.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.NewSectionReader(obj, 0, obj.Size()))
	return data, errors.Join(err, obj.Close())
}

func wantContent(t *testing.T, s objstore.Store, key, want string) {
	t.Helper()
	got, err := read(t.Context(), s, key)
	must(t, err)
	if !bytes.Equal(got, []byte(want)) {
		t.Errorf("%q holds %d bytes %.40q, want %d bytes %.40q", key, len(got), got, len(want), want)
	}
	info, err := s.Stat(t.Context(), key)
	must(t, err)
	if info.Key != key || info.Size != int64(len(want)) || info.ModTime.IsZero() {
		t.Errorf("Stat(%q) = %+v, want size %d", key, info, len(want))
	}
}

func wantAbsent(t *testing.T, s objstore.Store, key string) {
	t.Helper()
	_, err := s.Stat(t.Context(), key)
	wantErr(t, "Stat "+key, err, objstore.ErrNotExist)
	_, err = s.Open(t.Context(), key)
	wantErr(t, "Open "+key, err, objstore.ErrNotExist)
}

// keys lists the store, sorted.
func keys(t *testing.T, s objstore.Store, prefix string) []string {
	t.Helper()
	list := []string{}
	for info, err := range s.List(t.Context(), prefix) {
		must(t, err)
		list = append(list, info.Key)
	}
	slices.Sort(list)
	return list
}

func wantKeys(t *testing.T, s objstore.Store, prefix string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := keys(t, s, prefix); !slices.Equal(got, want) {
		t.Errorf("List(%q) = %q, want %q", prefix, got, want)
	}
}
