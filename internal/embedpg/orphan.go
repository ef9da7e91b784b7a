package embedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const pollEvery = 10 * time.Millisecond

// settle deals with what a killed parent left in the cluster: a server that still runs is stopped, and a postmaster.pid
// that names a foreign process no longer blocks the start. The caller holds the folder's lock.
func settle(ctx context.Context, pgdata string) error {
	pid := postmasterPID(pgdata)
	if pid == 0 {
		return nil
	}
	if servesCluster(pid, pgdata) {
		if err := stopOrphan(ctx, pid, pgdata); err != nil {
			return err
		}
	}
	return disarm(pgdata)
}

func stopOrphan(ctx context.Context, pid int, pgdata string) error {
	for _, step := range escalation(syscall.SIGINT) {
		if err := syscall.Kill(pid, step.sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the PostgreSQL server %d left by an earlier run: %w", pid, err)
		}
		limit := min(step.wait, 20*time.Second)
		if gone(ctx, limit, func() bool { return !servesCluster(pid, pgdata) }) {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("the PostgreSQL server %d left by an earlier run does not stop: %w", pid, context.Cause(ctx))
}

// gone asks until the answer is yes, the time is over or ctx ends.
func gone(ctx context.Context, limit time.Duration, yes func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !yes() {
		select {
		case <-ctx.Done():
			return yes()
		case <-tick.C:
		}
	}
	return true
}

// disarm lets the server start although the id in postmaster.pid has gone to another process, or belongs to a zombie that
// nobody reaps. Removing the file would also remove PostgreSQL's check for orphaned backends on the old shared memory.
// So we put our own id there: a server ignores the id of its parent and still makes that check.
func disarm(pgdata string) error {
	pid := postmasterPID(pgdata)
	if pid == 0 || pid == os.Getpid() || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return nil
	}
	path := filepath.Join(pgdata, "postmaster.pid")
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("stale postmaster.pid: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), "\n")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("stale postmaster.pid: %w", err)
	}
	_, err = fmt.Fprintf(file, "%d\n%s", os.Getpid(), rest)
	return errors.Join(err, file.Close())
}

// postmasterPID is the id in postmaster.pid, 0 when there is none.
func postmasterPID(pgdata string) int {
	lines := postmasterLines(pgdata)
	pid, err := strconv.Atoi(lines[0])
	if err != nil {
		return 0
	}
	return max(pid, -pid) // negative for a single-user server
}

// saysReady reports whether the server with this id has written that it accepts connections.
func saysReady(pgdata string, pid int) bool {
	const statusLine = 7
	lines := postmasterLines(pgdata)
	return len(lines) > statusLine && lines[0] == strconv.Itoa(pid) && lines[statusLine] == "ready"
}

// postmasterLines has at least one line.
func postmasterLines(pgdata string) []string {
	b, err := os.ReadFile(filepath.Join(pgdata, "postmaster.pid"))
	if err != nil {
		return []string{""}
	}
	lines := strings.Split(string(b), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}
