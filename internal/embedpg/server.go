package embedpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spillwaydb/spillway/internal/freeport"
	"github.com/spillwaydb/spillway/internal/obs"
)

const (
	host         = "127.0.0.1"
	startTimeout = 90 * time.Second // crash recovery included
)

// Options say where and how the server runs. The zero value is a server on a free port in a temporary folder.
type Options struct {
	// DataDir is the server's folder, made if absent. "" means a temporary one, which goes away at Stop.
	DataDir string
	// Port on loopback; 0 means a free one.
	Port int
	// Settings of postgresql.conf. ALTER SYSTEM overrides them.
	Settings map[string]string
	// Logger hears of starts and stops; nil means silence.
	Logger *slog.Logger
}

// Server is a private PostgreSQL server. Its methods may be called by several goroutines.
type Server struct {
	opt    Options
	folder *folder
	bin    Binaries
	log    *slog.Logger

	port int // fixed once Start has returned

	mu      sync.Mutex
	proc    *process // the running one, or the last
	stopped bool
}

// Start runs a server and returns when it accepts connections. ctx limits the start, not the server's life.
//
// Errors: ErrNoBinaries, *VersionError, *InUseError, *PortError, *UnreachableError, *FolderError, *ProcessError.
func Start(ctx context.Context, opt *Options) (*Server, error) {
	if opt == nil {
		opt = &Options{}
	}
	if opt.Port < 0 || opt.Port > 65535 {
		return nil, fmt.Errorf("PostgreSQL port %d is out of range", opt.Port)
	}
	s := &Server{opt: *opt, port: opt.Port, log: opt.Logger}
	s.opt.Settings = maps.Clone(opt.Settings)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if _, err := Find(ctx); err != nil { // before anything is made on disk
		return nil, err
	}
	if s.port != 0 { // asked again at the launch; here it spares making a cluster
		if err := freeport.Check(host, s.port); err != nil {
			return nil, &PortError{Addr: s.Address(), Err: err}
		}
	}
	var err error
	if s.folder, err = openFolder(opt.DataDir); err != nil {
		return nil, err
	}
	if err := s.bringUp(ctx); err != nil {
		return nil, errors.Join(err, s.folder.release())
	}
	return s, nil
}

// bringUp makes the cluster if needed and starts the server in the locked folder.
func (s *Server) bringUp(ctx context.Context) error {
	major, err := s.folder.major()
	if err != nil {
		return err
	}
	if s.bin, err = choose(ctx, s.folder.dir, major); err != nil {
		return err
	}
	if err := s.folder.readPassword(major == ""); err != nil {
		return err
	}
	if major == "" {
		if err := s.folder.initCluster(ctx, s.bin); err != nil {
			return err
		}
	}
	if err := settle(ctx, s.folder.pgdata()); err != nil {
		return err
	}
	if err := s.folder.makeSocketDir(); err != nil {
		return err
	}
	if err := s.folder.writeConf(s.opt.Settings); err != nil {
		return err
	}
	return s.launch(ctx)
}

// Stop ends the server by a fast shutdown: sessions are ended, their transactions rolled back, the cluster left clean.
// When ctx ends before that, the shutdown becomes immediate. The folder is released, a temporary one removed. Stop may be
// called twice.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	if err := s.proc.stop(ctx, syscall.SIGINT); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	s.stopped = true
	s.log.Debug("PostgreSQL stopped", obs.KeyPID, s.proc.pid)
	if err := s.folder.release(); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	return nil
}

// Kill ends the server by an immediate shutdown, as a crash would: nothing is written, the next start recovers from the
// log. It waits for the end. Restart brings the server back.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	if err := s.proc.stop(context.Background(), syscall.SIGQUIT); err != nil {
		return fmt.Errorf("kill PostgreSQL: %w", err)
	}
	return nil
}

// Restart stops the server if it runs and starts it on the same port, with the same settings.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return ErrStopped
	}
	if err := s.proc.stop(ctx, syscall.SIGINT); err != nil {
		return fmt.Errorf("restart PostgreSQL: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := settle(ctx, s.folder.pgdata()); err != nil {
		return err
	}
	return s.launch(ctx)
}

// Running reports whether the server's main process lives.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.running()
}

// Done is closed when the server's present main process has ended, for whatever reason. After Restart there is a new one.
func (s *Server) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.done
}

// Pid is the id of the server's main process, or of the last one.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.pid
}

// Port is the port on loopback.
func (s *Server) Port() int { return s.port }

// Address is host:port.
func (s *Server) Address() string { return net.JoinHostPort(host, strconv.Itoa(s.port)) }

// URL is the connection URL of a user for a database.
func (s *Server) URL(user, password, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(user, password),
		Host:     s.Address(),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// SuperURL is the connection URL of the superuser for a database. It holds the password: do not log it.
func (s *Server) SuperURL(database string) string {
	return s.URL(Superuser, s.folder.password, database)
}

// DataDir is the server's folder.
func (s *Server) DataDir() string { return s.folder.dir }

// SocketDir is the folder of the Unix socket. Only the account that runs the server, and root, can enter it.
func (s *Server) SocketDir() string { return s.folder.socket }

// LogPath is the file with the server's log.
func (s *Server) LogPath() string { return s.folder.log() }

// Binaries are the programs in use.
func (s *Server) Binaries() Binaries { return s.bin }
