package command

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spillwaydb/spillway/internal/backing"
	"github.com/spillwaydb/spillway/internal/cli/grants"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/sqlfront"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// database is the name of the database that is served.
func (n *node) database() string { return n.db.Pool().Config().ConnConfig.Database }

// startFront serves SQL on a listener.
func (n *node) startFront(ln net.Listener) error {
	all, err := n.newSchedules()
	if err != nil {
		return err
	}
	look := &backing.Planner{Surveyor: flush.NewSurveyor(n.db, n.ledger)}
	opt := &sqlfront.Options{
		Database: n.database(), SystemSchema: n.opt.systemSchema, LedgerSchema: n.opt.ledgerSchema, Operator: grants.Operator, Logger: n.log,
		Planner: look, CheckRestore: look.CheckRestore, Workers: backing.Workers{Jobs: n.jobs},
		Storages: &backing.Storages{Ledger: n.ledger, Temporal: n.temporal, Installation: n.installation.Name}, Schedules: &backing.Schedules{Ledger: n.ledger, All: all},
		Policies: &backing.Policies{Ledger: n.ledger},
		Meter:    n.metrics, Span: n.span,
	}
	if n.uiURL != "" {
		opt.UIPrefix = n.uiURL + "/namespaces/" + n.namespace + "/workflows/"
	}
	if opt.PredicateFunctions, err = n.predicateFunctions(); err != nil {
		return err
	}
	front, err := sqlfront.New(n.jobs, &backing.Catalog{Ledger: n.ledger}, opt)
	if err != nil {
		return err
	}
	target, err := n.target()
	if err != nil {
		return err
	}
	server, err := pgwire.New(front, target, &pgwire.Options{Logger: n.log, TLS: n.frontTLS})
	if err != nil {
		return err
	}
	n.metrics.OfFront(server.Sessions)
	n.started("SQL front-end", func(ctx context.Context) error {
		// Sessions get a moment to finish what they are at; then they are ended as a restart of PostgreSQL would.
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return server.Close(ctx)
	})
	go func() {
		if err := server.Serve(ln); err != nil && n.ready.Load() {
			n.fail(fmt.Errorf("SQL front-end: %w", err))
		}
	}()
	return nil
}

// frontTLS makes what clients of the front-end are offered, nil without a certificate.
func frontTLS(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	if certFile == "" {
		return nil, nil
	}
	pair := &keyPair{certFile: certFile, keyFile: keyFile, log: log}
	if err := pair.load(); err != nil {
		return nil, fmt.Errorf("--sql-tls-cert %s, --sql-tls-key %s: %w", certFile, keyFile, err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get}, nil
}

// target is where the front-end reaches PostgreSQL: where we reached it ourselves, encrypted if that was.
func (n *node) target() (pgwire.Target, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := n.db.Pool().Acquire(ctx)
	if err != nil {
		return pgwire.Target{}, err
	}
	defer conn.Release()
	cfg := conn.Conn().Config()
	wire := conn.Conn().PgConn().Conn()
	t := pgwire.Target{Network: wire.RemoteAddr().Network(), Address: wire.RemoteAddr().String()}
	if _, encrypted := wire.(*tls.Conn); encrypted {
		t.TLS = cfg.TLSConfig
	}
	return t, nil
}
