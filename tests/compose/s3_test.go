package compose

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/freeport"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
)

// The S3 server of docker-compose.yml, started as it says, takes what a worker with the file's keys stores.
func TestS3Service(t *testing.T) {
	p := load(t)
	s, w := p.Services["s3"], p.Services["worker"]
	if !slices.Equal(s.Entrypoint, []string{"/usr/local/bin/versitygw"}) {
		t.Errorf("entrypoint %v", s.Entrypoint)
	}
	port, err := freeport.Pick("127.0.0.1")
	must(t, err)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	dirs := map[string]string{"/buckets": t.TempDir(), "/meta": t.TempDir()} // of its volumes
	must(t, os.Mkdir(filepath.Join(dirs["/buckets"], "cold"), 0o750))
	var args, environ []string
	for _, a := range s.Command {
		if dir, ok := dirs[a]; ok {
			a = dir
		}
		args = append(args, a)
	}
	for name, value := range s.Environment {
		environ = append(environ, name+"="+strings.ReplaceAll(*value, "0.0.0.0:7070", address))
	}
	cloudtest.RunS3(t, address, environ, args...)

	for _, name := range []string{"SPILLWAY_STORAGE_S3_KEY", "SPILLWAY_STORAGE_S3_SECRET"} {
		t.Setenv(name, *w.Environment[name])
	}
	store, err := objstore.OpenWith(t.Context(), "s3://cold", map[string]string{
		"endpoint": "http://" + address, "access_key_env": "SPILLWAY_STORAGE_S3_KEY", "secret_key_env": "SPILLWAY_STORAGE_S3_SECRET"})
	must(t, err)
	must(t, objstore.Probe(t.Context(), store))
}
