package objstore_test

import (
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
)

// What a store calls an object leads back to its key; what it does not call so leads nowhere.
func TestKeyOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/odd %20 name?#"
	s, err := objstore.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a.parquet", "app/events/x-1.parquet", "a%2Eb/%C3%A4", "日本/ä b+c?#", "a/.hidden", "a%b"} {
		got, ok := objstore.KeyOf(s, s.URL(key))
		if !ok || got != key {
			t.Errorf("%q: %s leads to %q, %t", key, s.URL(key), got, ok)
		}
	}
	for _, location := range []string{
		"", "x", s.URL(""), s.URL("") + "/", s.URL("") + "x/a", s.URL("a") + "/", s.URL("") + "/a/../b", s.URL("") + "/../b", s.URL("") + "//a",
		s.URL("") + "/a/%2e%2e/b", s.URL("") + "/%zz", s.URL("") + "/%61", "s3://bucket/a", dir + "/a",
	} {
		if key, ok := objstore.KeyOf(s, location); ok {
			t.Errorf("%q leads to %q", location, key)
		}
	}
}
