package embedpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/freeport"
	"github.com/spillwaydb/spillway/internal/obs"
)

var errNotOurs = errors.New("another PostgreSQL server answers on our port")

// launch starts the postmaster and returns when it accepts connections. A free port may be taken between the choice and
// the bind: then another is chosen. Backends of a crashed server may hold the old shared memory for a moment: then it
// tries again until ctx ends.
func (s *Server) launch(ctx context.Context) error {
	free := s.port == 0
	for {
		if free {
			port, err := freeport.Pick(host)
			if err != nil {
				return fmt.Errorf("free port for PostgreSQL: %w", err)
			}
			s.port = port
		} else if err := freeport.Check(host, s.port); err != nil {
			return &PortError{Addr: s.Address(), Err: err}
		}
		err := s.launchOnce(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return err
		case endedWith(err, "could not bind") && !free:
			return &PortError{Addr: s.Address(), Err: err}
		case endedWith(err, "could not bind"), endedWith(err, "pre-existing shared memory block"):
			continue
		default:
			return err
		}
	}
}

func endedWith(err error, message string) bool {
	var end *ProcessError
	return errors.As(err, &end) && strings.Contains(end.Output, message)
}

func (s *Server) launchOnce(ctx context.Context) error {
	log, err := s.folder.openLog()
	if err != nil {
		return err
	}
	defer log.Close()
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("server's log: %w", err)
	}
	proc, err := spawn(s.command(log))
	if err != nil {
		return fmt.Errorf("start postgres as %s: %w", s.folder.account, err)
	}
	begun := time.Now()
	if err := s.awaitReady(ctx, proc); err != nil {
		stopErr := proc.stop(ctx, syscall.SIGQUIT)
		return errors.Join(&ProcessError{Program: "postgres", Err: err, Output: tail(log, before)}, stopErr)
	}
	s.proc = proc
	s.log.Debug("PostgreSQL started", obs.KeyPID, proc.pid, obs.KeyAddress, s.Address(), obs.KeyDuration, time.Since(begun))
	return nil
}

func (a account) String() string {
	if a.other {
		return a.name
	}
	return "ourselves"
}

// command is the postmaster's. What we must be sure of goes on the command line, where ALTER SYSTEM cannot change it.
func (s *Server) command(log *os.File) *exec.Cmd {
	cmd := exec.Command(s.bin.program("postgres"),
		"-D", s.folder.pgdata(),
		"-c", "listen_addresses="+host,
		"-c", "port="+strconv.Itoa(s.port),
		"-c", `unix_socket_directories="`+strings.ReplaceAll(s.folder.socket, `"`, `""`)+`"`,
	)
	cmd.Dir = s.folder.dir
	cmd.Env = environ(s.bin)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = s.folder.account.attributes(syscall.SIGINT)
	return cmd
}

// awaitReady connects until it succeeds, the process ends or ctx ends.
func (s *Server) awaitReady(ctx context.Context, proc *process) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := s.probe(ctx)
		if err == nil {
			return nil
		}
		if isDenied(err) && saysReady(s.folder.pgdata(), proc.pid) {
			return fmt.Errorf("the superuser's password in %s is not the server's: %w", s.folder.dir, err)
		}
		select {
		case <-proc.done:
			return fmt.Errorf("ended early: %w", endOf(proc))
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w (last answer: %w)", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

func endOf(proc *process) error {
	if proc.err != nil {
		return proc.err
	}
	return errors.New("exit status 0")
}

// probe connects as the superuser and asks whether the server is ours.
func (s *Server) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.SuperURL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var dir string
	if err := conn.QueryRow(ctx, "SELECT current_setting('data_directory')").Scan(&dir); err != nil {
		return err
	}
	if !sameFolder(dir, s.folder.pgdata()) {
		return errNotOurs
	}
	return nil
}

func sameFolder(a, b string) bool {
	ai, errA := os.Stat(a)
	bi, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(ai, bi)
}

// isDenied: invalid authorization (class 28).
func isDenied(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && strings.HasPrefix(pgErr.Code, "28")
}

// tail is what was logged since the offset.
func tail(log *os.File, since int64) string {
	b, err := io.ReadAll(io.NewSectionReader(log, since, 64<<10))
	if err != nil {
		return ""
	}
	return lastLines(string(b))
}
