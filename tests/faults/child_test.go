package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
)

// asChild names the environment variable that makes this test program drive one job until it crashes. It means nothing to the
// product, which has no such switch.
const asChild = "SPILLWAY_FAULTS_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(asChild); text != "" {
		fmt.Fprintln(os.Stderr, childMain(text))
		os.Exit(1)
	}
	if err := cloudtest.SetKeys(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	pgtest.Main(m)
}

// order is what a child does.
type order struct {
	URL   string
	Job   job
	Shots []shot
}

// childMain drives a job, and returns only if it was not killed.
func childMain(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx := fault.With(context.Background(), newGun(o.Shots...).hook)
	m, err := boot(ctx, o.URL)
	if err != nil {
		return err
	}
	return errors.Join(errors.New("the child was not killed"), m.drive(ctx, o.Job, 3))
}

// crash runs a child and reports whether it died of its shot.
func crash(o order) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^$")
	cmd.Env = append(os.Environ(), asChild+"="+string(text))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if ctx.Err() == nil && errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return nil
		}
	}
	return fmt.Errorf("the child was to crash: %w\n%s", err, out)
}
