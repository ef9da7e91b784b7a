package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Default schemas.
const (
	DefaultSchema       = "spillway"
	DefaultSystemSchema = "system"
)

// Querier runs statements: a pool, a connection, a transaction, or a session of package hot. Parameters are passed as text
// with explicit casts, so that it may describe them to PostgreSQL or not.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Options name the schemas; nil means the defaults.
type Options struct {
	Schema       string
	SystemSchema string
}

// Ledger reads and writes the ledger of one database. It is safe for use by several goroutines.
type Ledger struct {
	pool    *pgxpool.Pool
	schema  string
	system  string
	replace *strings.Replacer
}

// New returns the ledger of the pool's database. It runs no statement.
func New(pool *pgxpool.Pool, opt *Options) *Ledger {
	l := &Ledger{pool: pool, schema: DefaultSchema, system: DefaultSystemSchema}
	if opt != nil && opt.Schema != "" {
		l.schema = opt.Schema
	}
	if opt != nil && opt.SystemSchema != "" {
		l.system = opt.SystemSchema
	}
	l.replace = strings.NewReplacer(
		"@schema@", pgx.Identifier{l.schema}.Sanitize(),
		"@system@", pgx.Identifier{l.system}.Sanitize())
	return l
}

// Schema and SystemSchema are the names in use, unquoted.
func (l *Ledger) Schema() string { return l.schema }

// SystemSchema is the schema of the views.
func (l *Ledger) SystemSchema() string { return l.system }

// expand puts the names of the schemas into a statement.
func (l *Ledger) expand(sql string) string { return l.replace.Replace(sql) }

// inTx runs fn in a transaction of its own, READ COMMITTED and writable whatever the role's defaults are.
func (l *Ledger) inTx(ctx context.Context, fn func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, l.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, fn)
}

// wrap names the step that failed, and tells a missing row and a missing ledger from other errors.
func wrap(step string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("%s: %w", step, ErrNotFound)
	case sqlState(err) == "42P01", sqlState(err) == "3F000":
		return fmt.Errorf("%s: %w: %w", step, ErrNoLedger, err)
	}
	return fmt.Errorf("%s: %w", step, err)
}

// collect reads all rows by scan.
func collect[T any](ctx context.Context, q Querier, step string, scan func(pgx.CollectableRow) (T, error), sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, wrap(step, err)
	}
	out, err := pgx.CollectRows(rows, scan)
	return out, wrap(step, err)
}

// texts are the text forms of ids.
func texts(ids []uuid.UUID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}

// jsonOr is the text of a JSON value, or of an empty object.
func jsonOr(raw []byte) string {
	if len(raw) == 0 {
		return "{}"
	}
	return string(raw)
}
