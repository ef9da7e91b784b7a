package embedtemporal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/temporal"

	"github.com/spillwaydb/spillway/internal/freeport"
	"github.com/spillwaydb/spillway/internal/obs"
)

const (
	serverService = "the Temporal server"
	uiService     = "the Temporal Web UI"

	// A free port may be taken between the choice and the bind.
	startTries = 3
)

// Server is a running Temporal server.
type Server struct {
	opt   *Options
	log   *logger
	ports ports
	uiURL string

	// The parts, in the order of their start; nil when not started.
	listener net.Listener // of the Web UI, until that takes it over
	store    backend
	inner    temporal.Server
	client   client.Client // in the namespace, for our own questions
	ui       *webUI

	stop    sync.Once
	stopErr error
	up      chan struct{} // closed when the start is done, well
	stopped chan struct{} // closed when a stop begins
}

// Start runs a server and returns when it is ready for clients and workflows in its namespace. ctx limits the start, not
// the server's life.
//
// Errors: *PortError, *InUseError, *StoreError, *ServerError.
func Start(ctx context.Context, o *Options) (*Server, error) {
	opt, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for try := 1; ; try++ {
		s, err := start(ctx, opt)
		if err == nil {
			return s, nil
		}
		var failed *ServerError
		raced := opt.Port == 0 && errors.As(err, &failed) && errors.Is(err, syscall.EADDRINUSE)
		if !raced || try == startTries || ctx.Err() != nil {
			return nil, err
		}
	}
}

func newServer(opt *Options) *Server {
	return &Server{opt: opt, log: newLogger(opt.Logger, opt.LogLevel), up: make(chan struct{}), stopped: make(chan struct{})}
}

func start(ctx context.Context, opt *Options) (*Server, error) {
	s := newServer(opt)
	begun := time.Now()
	if err := s.bringUp(ctx); err != nil {
		if cause := s.Err(); cause != nil { // says more than the step that failed of it
			err = cause
		}
		return nil, errors.Join(err, s.Stop())
	}
	close(s.up)
	opt.Logger.Debug("Temporal started", obs.KeyAddress, s.Address(), obs.KeyDuration, time.Since(begun))
	return s, nil
}

// bringUp starts one part after the other; Stop undoes what was done.
func (s *Server) bringUp(ctx context.Context) error {
	var err error
	if s.opt.Port != 0 {
		if err := freeport.Check(s.opt.Host, s.opt.Port); err != nil {
			return &PortError{Service: serverService, Addr: addr(s.opt.Host, s.opt.Port), Err: err}
		}
	}
	if s.listener, err = listenUI(ctx, s.opt); err != nil {
		return err
	}
	if err := s.openStore(ctx); err != nil {
		return err
	}
	if err := s.store.createNamespace(s.opt.Namespace, s.opt.Retention); err != nil {
		return err
	}
	if s.ports, err = pickPorts(s.opt.Host, s.opt.Port); err != nil {
		return err
	}
	if err := s.boot(); err != nil {
		return err
	}
	if err := s.getReady(ctx); err != nil {
		return err
	}
	return s.serveUI()
}

func (s *Server) openStore(ctx context.Context) error {
	if s.opt.Store != nil {
		s.store = s.opt.Store
		s.watchStore()
		if err := s.opt.Store.Err(); err != nil {
			return &ServerError{Msg: "start", Err: err}
		}
		return nil
	}
	file, err := openStore(ctx, s.opt.DataDir)
	if err != nil {
		return err
	}
	s.store = file
	return nil
}

// watchStore stops the server in the moment in which its store is another's: two servers on one store fight over it.
func (s *Server) watchStore() {
	store := s.opt.Store
	go func() {
		select {
		case <-store.Lost():
			s.log.state.quiet.Store(true)
			s.log.state.fail(&ServerError{Msg: "stopped", Err: store.Err()})
		case <-s.stopped:
			return
		}
		select {
		case <-s.up:
			if err := s.Stop(); err != nil {
				s.opt.Logger.Debug("stop Temporal", obs.KeyErr, err)
			}
		case <-s.stopped: // by the start itself, which has failed
		}
	}()
}

func (s *Server) serveUI() error {
	if s.listener == nil {
		return nil
	}
	_, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return &ServerError{Msg: "address of the Web UI", Err: err}
	}
	s.uiURL = "http://" + net.JoinHostPort(dialHost(s.opt.Host), port)
	listener := s.listener
	s.listener = nil
	s.ui, err = startUI(listener, s.Address(), s.opt.Namespace, s.opt.Logger)
	return err
}

// boot builds and starts the server's services.
func (s *Server) boot() error {
	err := <-s.guard(s.startServices)
	if cause := s.Err(); cause != nil {
		return cause // says more than what became of the service that failed
	}
	if err != nil {
		return &ServerError{Msg: "start", Err: err}
	}
	return nil
}

// guard runs a part of the server that may believe that it can end the process: logger.Fatal ends the goroutine instead,
// and where a sync.OnceValue stands in between that becomes a panic.
func (s *Server) guard(f func() error) <-chan error {
	result := make(chan error, 1)
	go func() {
		err := errors.New("ended early")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
			result <- err
		}()
		err = f()
	}()
	return result
}

func (s *Server) startServices() error {
	srv, err := temporal.NewServer(
		temporal.WithConfig(serverConfig(s.opt.Host, s.ports, s.store.persistence())),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(staticHosts(s.opt.Host, s.ports)),
		temporal.WithLogger(s.log),
		temporal.WithDynamicConfigClient(dynamicConfig()),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return authorization.NewNoopClaimMapper() }),
	)
	if err != nil {
		return err
	}
	s.inner = srv
	return srv.Start()
}

// getReady waits until the server serves, and sets the retention.
func (s *Server) getReady(ctx context.Context) error {
	var err error
	s.client, err = client.NewLazyClient(client.Options{
		HostPort:  s.Address(),
		Namespace: s.opt.Namespace,
		Identity:  "spillway-embedtemporal",
		Logger:    sdklog.NewStructuredLogger(s.log.SLog()),
	})
	if err != nil {
		return &ServerError{Msg: "connect", Err: err}
	}
	if err := s.awaitServing(ctx); err != nil {
		return err
	}
	if err := setRetention(ctx, s.client, s.opt.Namespace, s.opt.Retention); err != nil {
		return &ServerError{Msg: "set the retention", Err: err}
	}
	return nil
}

// Stop ends the Web UI and the server and releases the data directory. It may be called twice; the second call waits for
// the first and gives the same answer.
func (s *Server) Stop() error {
	s.stop.Do(func() {
		close(s.stopped)
		s.stopErr = s.shutDown()
	})
	return s.stopErr
}

func (s *Server) shutDown() error {
	s.log.state.quiet.Store(true)
	var errs []error
	if s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	if s.ui != nil {
		errs = append(errs, s.ui.stop())
	}
	if s.client != nil {
		s.client.Close()
	}
	if s.inner != nil {
		errs = append(errs, s.stopServices())
	}
	if s.store != nil {
		errs = append(errs, s.store.release())
	}
	return errors.Join(errs...)
}

// stopServices gives the services a limit: their own is minutes for each.
func (s *Server) stopServices() error {
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case err := <-s.guard(s.inner.Stop):
		if err != nil {
			return &ServerError{Msg: "stop", Err: err}
		}
		return nil
	case <-timer.C:
		return &ServerError{Msg: "does not stop"}
	}
}

// Address is host:port of the server for clients.
func (s *Server) Address() string { return addr(dialHost(s.opt.Host), s.ports.frontend) }

// UIURL is the address of the Web UI, "" if there is none.
func (s *Server) UIURL() string { return s.uiURL }

// Namespace is the namespace that is ready to use.
func (s *Server) Namespace() string { return s.opt.Namespace }

// Failed is closed when the server cannot go on; Err then says why. The caller stops it.
func (s *Server) Failed() <-chan struct{} { return s.log.state.failed }

// Err is why the server cannot go on, or nil.
func (s *Server) Err() error { return s.log.state.failure() }
