package command

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
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
	look := &planner{flush.NewSurveyor(n.db, n.ledger)}
	opt := &sqlfront.Options{
		Database: n.database(), SystemSchema: n.opt.systemSchema, LedgerSchema: n.opt.ledgerSchema, Operator: operatorRole, Logger: n.log,
		Planner: look, CheckRestore: look.CheckRestore, Workers: crew{n.jobs},
		Storages: &storages{ledger: n.ledger, temporal: n.temporal, installation: n.installation.Name}, Schedules: &schedules{ledger: n.ledger, all: all},
		Policies: &policies{n.ledger},
		Meter:    n.metrics, Span: n.span,
	}
	if n.uiURL != "" {
		opt.UIPrefix = n.uiURL + "/namespaces/" + n.namespace + "/workflows/"
	}
	if opt.PredicateFunctions, err = n.predicateFunctions(); err != nil {
		return err
	}
	front, err := sqlfront.New(n.jobs, &catalog{n.ledger}, opt)
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

// catalog lets the front-end ask the ledger.
type catalog struct{ ledger *ledger.Ledger }

var _ sqlfront.Catalog = (*catalog)(nil)

func (c *catalog) RegisteredTables(ctx context.Context, namespace string) ([]jobmanager.Table, error) {
	rows, err := c.ledger.RegisteredTables(ctx, namespace)
	if err != nil {
		return nil, err
	}
	tables := make([]jobmanager.Table, len(rows))
	for i, r := range rows {
		tables[i] = jobmanager.Table{Namespace: r.Schema, Name: r.Table}
	}
	return tables, nil
}

func (c *catalog) LiveSegments(ctx context.Context, table jobmanager.Table) ([]sqlfront.Segment, error) {
	var list []sqlfront.Segment
	for s, err := range c.ledger.LiveSegments(ctx, table.Namespace, table.Name) {
		if err != nil {
			return nil, err
		}
		list = append(list, sqlfront.Segment{
			ID: s.ID.String(), JobID: s.JobID, Leaf: s.Leaf, Location: s.Location, Storage: s.Storage, Rows: s.Rows, Bytes: s.Bytes,
			SchemaVersion: int64(s.SchemaVersion), CreatedAt: s.CreatedAt,
		})
	}
	return list, nil
}

func (c *catalog) WroteSegments(ctx context.Context, job jobmanager.JobID) (bool, error) {
	return c.ledger.WroteSegments(ctx, job.String())
}

func (c *catalog) Audit(ctx context.Context, e sqlfront.AuditEntry) error {
	return c.ledger.Audit(ctx, ledger.AuditRow{User: e.User, Statement: e.Statement, JobID: e.JobID, Outcome: e.Outcome})
}

func (c *catalog) Space(ctx context.Context, job jobmanager.JobID) (sqlfront.Space, bool, error) {
	h, found, err := c.ledger.History(ctx, job.String())
	if err != nil || !found || h.HotBytesBefore == nil || h.HotBytesAfter == nil || h.DeadBytes == nil {
		return sqlfront.Space{}, false, err
	}
	cold, err := c.ledger.ColdTotals(ctx, h.Schema, h.Table)
	if err != nil {
		return sqlfront.Space{}, false, err
	}
	plan, err := c.ledger.PlanGeneration(ctx, job.String(), 1)
	if err != nil {
		return sqlfront.Space{}, false, err
	}
	denied, err := flush.NotVacuumed(plan)
	return sqlfront.Space{
		NotVacuumed: denied,
		Rows:        h.RowsFlushed, HotBefore: *h.HotBytesBefore, HotAfter: *h.HotBytesAfter, DeadBytes: *h.DeadBytes, ColdBytes: cold.Bytes, Segments: cold.Segments,
	}, err == nil, err
}

func (c *catalog) Findings(ctx context.Context, job jobmanager.JobID) (f sqlfront.Findings, err error) {
	counts, err := c.ledger.CountFindings(ctx, job.String())
	if err != nil {
		return f, err
	}
	for _, n := range counts {
		switch {
		case n.Kind == ledger.KindDamaged:
			f.Damaged = n.Objects
		case n.Kind == ledger.KindMissing:
			f.Missing = n.Objects
		case n.Action == ledger.ActionReported:
			f.Strays, f.StrayBytes = n.Objects, n.Bytes
		case n.Action == ledger.ActionDeleted:
			f.Deleted, f.DeletedBytes = f.Deleted+n.Objects, f.DeletedBytes+n.Bytes
		case n.Action == ledger.ActionWouldDelete:
			f.ToDelete, f.ToDeleteBytes = f.ToDelete+n.Objects, f.ToDeleteBytes+n.Bytes
		case n.Action == ledger.ActionKept:
			f.Kept += n.Objects
		}
	}
	checked, err := c.ledger.Checked(ctx, job.String())
	f.Segments, f.Rows, f.Bytes = checked.Segments, checked.Rows, checked.Bytes
	return f, err
}
