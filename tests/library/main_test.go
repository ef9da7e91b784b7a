package library

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/tests/product"
)

func TestMain(m *testing.M) {
	code, err := around(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// around runs the examples while a spillway with a private PostgreSQL runs.
func around(run func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "spillway-library-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL has an account of its own where this runs as root
		return 1, err
	}
	binary, err := product.Binary(dir)
	if err != nil {
		return 1, err
	}
	up := exec.Command(binary, "up", "--data-dir", filepath.Join(dir, "data"), "--sql-listen", "127.0.0.1:0", "--temporal-listen", "127.0.0.1:0", "--ui-listen", "127.0.0.1:0",
		"--metrics-listen", "")
	var log strings.Builder
	up.Stderr = &log
	out, err := up.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := up.Start(); err != nil {
		return 1, err
	}
	defer func() {
		stopped := errors.Join(up.Process.Signal(syscall.SIGTERM), up.Wait())
		if err = errors.Join(err, stopped); err != nil || code != 0 {
			fmt.Fprintln(os.Stderr, log.String())
		}
	}()
	if _, err := out.Read(make([]byte, 4096)); err != nil { // the line that says that it is ready
		return 1, err
	}
	if err := prepare(filepath.Join(dir, "data", "up.json")); err != nil {
		return 1, err
	}
	return run(), nil
}

// prepare makes a table for each example, and tells them where to find everything.
func prepare(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var up struct {
		SQLURL          string `json:"sql_url"`
		WorkerURL       string `json:"worker_url"`
		TemporalAddress string `json:"temporal_address"`
	}
	if err := json.Unmarshal(text, &up); err != nil {
		return err
	}
	conn, err := pgx.Connect(context.Background(), up.SQLURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for _, name := range []string{"events", "clicks", "visits"} {
		if _, err := conn.Exec(context.Background(), "CREATE TABLE app."+name+" AS SELECT i AS id, md5(i::text) AS note FROM generate_series(1, 100000) i"); err != nil {
			return err
		}
	}
	return errors.Join(os.Setenv("DATABASE_URL", up.WorkerURL), os.Setenv("TEMPORAL_ADDRESS", up.TemporalAddress))
}
