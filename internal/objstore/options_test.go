package objstore_test

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
)

// A24: what cannot be an option is refused by name, and no error repeats a value, which may be a secret in the wrong place.
func TestOptions(t *testing.T) {
	t.Parallel()
	const secret = "wJalrXUtnFEMI"
	for _, c := range []struct {
		location string
		options  map[string]string
		option   string // to blame; "": none
	}{
		{"s3://bkt/x", nil, ""},
		{"s3://bkt/x", map[string]string{"endpoint": "https://minio:9000", "region": "eu-1", "path_style": "false", "part_size": "16MB", "timeout": "30s", "put_if_absent": "false"}, ""},
		{"s3://bkt/x", map[string]string{"access_key_env": "SPILLWAY_STORAGE_K", "secret_key_env": "AWS_S", "session_token_env": "AWS_T"}, ""},
		{"s3://bkt/x", map[string]string{"credentials_file": "/etc/keys", "profile": "cold"}, ""},
		{"az://bkt/x", map[string]string{"account": "company", "account_key_env": "AZURE_KEY"}, ""},
		{"/srv/cold", map[string]string{"path": "{table}"}, ""},
		{"s3://bkt/x", map[string]string{"secret_access_key": secret}, "secret_access_key"},
		{"s3://bkt/x", map[string]string{"access_key_env": secret, "secret_key_env": "AWS_S"}, "access_key_env"},
		{"s3://bkt/x", map[string]string{"access_key_env": "PGPASSWORD", "secret_key_env": "AWS_S"}, "access_key_env"},
		{"s3://bkt/x", map[string]string{"access_key_env": "AWS_", "secret_key_env": "AWS_S"}, "access_key_env"},
		{"s3://bkt/x", map[string]string{"access_key_env": "AWS_K"}, "access_key_env"},
		{"s3://bkt/x", map[string]string{"secret_key_env": "AWS_K"}, "access_key_env"},
		{"s3://bkt/x", map[string]string{"session_token_env": "AWS_K"}, "session_token_env"},
		{"s3://bkt/x", map[string]string{"access_key_env": "AWS_K", "secret_key_env": "AWS_S", "profile": "x"}, "access_key_env"},
		{"s3://bkt/x", map[string]string{"endpoint": "https://k:" + secret + "@minio"}, "endpoint"},
		{"s3://bkt/x", map[string]string{"endpoint": "https://minio?X-Amz-Security-Token=" + secret}, "endpoint"},
		{"s3://bkt/x", map[string]string{"endpoint": "ftp://minio"}, "endpoint"},
		{"s3://bkt/x", map[string]string{"credentials_file": "relative"}, "credentials_file"},
		{"s3://bkt/x", map[string]string{"part_size": "1MB"}, "part_size"},
		{"s3://bkt/x", map[string]string{"part_size": "1GB"}, "part_size"},
		{"s3://bkt/x", map[string]string{"part_size": "9223372036854775807MB"}, "part_size"},
		{"s3://bkt/x", map[string]string{"timeout": "0"}, "timeout"},
		{"s3://bkt/x", map[string]string{"path_style": "perhaps"}, "path_style"},
		{"s3://bkt/x", map[string]string{"region": "eu 1"}, "region"},
		{"s3://bkt/x", map[string]string{"account": "company"}, "account"},
		{"az://bkt/x", map[string]string{"account": "Company!"}, "account"},
		{"/srv/cold", map[string]string{"region": "eu-1"}, "region"},
	} {
		_, err := objstore.Check(c.location, c.options)
		var bad *objstore.OptionError
		switch {
		case c.option == "" && err != nil:
			t.Errorf("%v: %v", c.options, err)
		case c.option != "" && (!errors.As(err, &bad) || bad.Option != c.option || strings.Contains(bad.Msg+bad.Hint, secret)):
			t.Errorf("%v: %v, want one about %s", c.options, err, c.option)
		}
	}
	if known := objstore.KnownOptions("file"); !slices.Equal(known, []string{"path"}) {
		t.Errorf("a folder has %v", known)
	}
}

func TestBucketLocations(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"s3://bucket": "s3://bucket", "S3://bucket/": "s3://bucket", "s3://bucket/a/b c/": "s3://bucket/a/b c", "gs://b-1.x/p": "gs://b-1.x/p",
		"az://container/p=1": "az://container/p=1", "/srv/x/../y": "file:///srv/y",
	} {
		if got, err := objstore.Check(location, nil); got != want || err != nil {
			t.Errorf("%s is %s, %v, want %s", location, got, err, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"s3://bkt/x", "s3://bkt/x", true}, {"s3://bkt", "s3://bkt/x", true}, {"s3://bkt/x/y", "s3://bkt/x", true}, {"s3://bkt/x", "s3://bkt/xy", false},
		{"s3://bkt/x", "gs://b/x", false}, {"file:///srv", "file:///srv/a", true}, {"file:///", "file:///srv", true}, {"file:///srv/a", "file:///srv/ab", false},
	} {
		if got := objstore.Overlap(c.a, c.b); got != c.want {
			t.Errorf("Overlap(%s, %s) = %v", c.a, c.b, got)
		}
	}
	bare, options, err := objstore.SplitOptions("s3://bkt/x?endpoint=http%3A%2F%2Fh%3A1&region=r")
	if bare != "s3://bkt/x" || err != nil || !maps.Equal(options, map[string]string{"endpoint": "http://h:1", "region": "r"}) {
		t.Errorf("%s %v %v", bare, options, err)
	}
	for _, location := range []string{"/srv/what?", "file:///x%3Fy", "s3://bkt/x"} {
		if bare, options, err := objstore.SplitOptions(location); bare != location || options != nil || err != nil {
			t.Errorf("%s: %s %v %v", location, bare, options, err)
		}
	}
}

// A URL leads back to the key it was made of, and to no other store's.
func TestKeysOfURLs(t *testing.T) {
	t.Parallel()
	local, dir := open(t, t.TempDir()), t.TempDir()
	options := cloudtest.Options("http://127.0.0.1:1")
	cloud, err := objstore.OpenWith(t.Context(), "s3://bucket/pre fix", options)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []objstore.Store{local, cloud} {
		for _, key := range []string{"a", "app/t/2026-01-01-x.parquet", "caf%C3%A9/x y", "q?x#y"} {
			if got, ok := objstore.KeyOf(s, s.URL(key)); !ok || got != key {
				t.Errorf("%s leads to %q, %v", s.URL(key), got, ok)
			}
		}
		for _, other := range []string{s.URL(""), "s3://bucket/pre fixed/a", "s3://other/a", "file://" + filepath.Join(dir, "a"), "nonsense"} {
			if key, ok := objstore.KeyOf(s, other); ok {
				t.Errorf("%s leads to %q in %s", other, key, s.URL(""))
			}
		}
	}
}
