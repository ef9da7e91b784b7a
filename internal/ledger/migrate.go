package ledger

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed migrations/*.sql views.sql
var files embed.FS

// Comments that mark our schemas.
const (
	mark        = "Spillway: "
	ledgerMark  = mark + "the ledger of flushed rows. The truth about segments; change nothing here by hand."
	systemMark  = mark + "views of jobs, segments, tables and workers. Put nothing else here."
	viewsRow    = 0 // the row of the migrations table that holds the checksum of views.sql
	grantsHint  = "Let a superuser or the owner of the database run the script that `spillway grants` prints."
	lockTimeout = "30s"
)

// migration is one step of the ledger. Its checksum is taken before the schemas' names are put in.
type migration struct {
	version  int
	sql      string
	checksum string
}

// migrations returns the steps that this build knows, in order.
func migrations() ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []migration
	for i, name := range names {
		m, err := readMigration(name)
		if err != nil {
			return nil, err
		}
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		if m.version, err = strconv.Atoi(number); err != nil || m.version != i+1 {
			return nil, fmt.Errorf("migration %s: expected number %d", name, i+1)
		}
		out = append(out, m)
	}
	return out, nil
}

func readMigration(name string) (migration, error) {
	text, err := files.ReadFile(name)
	if err != nil {
		return migration{}, err
	}
	sum := sha256.Sum256(text)
	return migration{sql: string(text), checksum: hex.EncodeToString(sum[:])}, nil
}

// Migrate makes the ledger and its views, or brings them up to date. Each step is one transaction, and an advisory lock
// lets one process at a time do it; calling it again is cheap and changes nothing.
//
// Schemas that a DBA made for this role, empty and owned by it, are used. Errors: *PrivilegeError, *ForeignSchemaError,
// *VersionError, *ChecksumError.
func (l *Ledger) Migrate(ctx context.Context) error {
	steps, err := migrations()
	if err != nil {
		return fmt.Errorf("migrate the ledger: %w", err)
	}
	if err := l.migrateTx(ctx, l.prepareSchemas); err != nil {
		return err
	}
	for _, m := range steps {
		if err := l.migrateTx(ctx, func(ctx context.Context, tx pgx.Tx) error { return l.apply(ctx, tx, m, len(steps)) }); err != nil {
			return err
		}
	}
	return l.migrateTx(ctx, l.applyViews)
}

// migrateTx runs one step under the lock, with settings that no role default can upset.
func (l *Ledger) migrateTx(ctx context.Context, step func(context.Context, pgx.Tx) error) error {
	err := l.inTx(ctx, func(tx pgx.Tx) error {
		set := "SET LOCAL search_path = ''; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '" + lockTimeout + "'; SET LOCAL client_min_messages = warning"
		if err := tx.Conn().PgConn().Exec(ctx, set).Close(); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('spillway:migrate:' || $1, 0))`, l.schema)
		if err != nil {
			return err
		}
		return step(ctx, tx)
	})
	var pe *pgconn.PgError
	var ours *PrivilegeError
	if errors.As(err, &pe) && pe.Code == "42501" && !errors.As(err, &ours) {
		err = &PrivilegeError{SQLState: pe.Code, Msg: pe.Message, Hint: grantsHint, Err: err}
	}
	if err != nil {
		return fmt.Errorf("migrate the ledger: %w", err)
	}
	return nil
}

// prepareSchemas finds or makes both schemas, and the table of migrations.
func (l *Ledger) prepareSchemas(ctx context.Context, tx pgx.Tx) error {
	for _, s := range []struct{ name, comment string }{{l.schema, ledgerMark}, {l.system, systemMark}} {
		if err := prepareSchema(ctx, tx, s.name, s.comment); err != nil {
			return err
		}
	}
	return execAll(ctx, tx, l.expand(`
		CREATE TABLE IF NOT EXISTS @schema@.migrations (
			version    integer PRIMARY KEY,
			applied_at timestamptz NOT NULL DEFAULT now(),
			checksum   text NOT NULL
		);
		COMMENT ON TABLE @schema@.migrations IS 'Versions of this schema. Version 0 stands for the views.'`))
}

// schemaFacts is what decides whether a schema is ours.
type schemaFacts struct {
	exists, ours, empty bool
	owner, comment      string
}

func readSchema(ctx context.Context, q Querier, name string) (schemaFacts, error) {
	f := schemaFacts{exists: true}
	err := q.QueryRow(ctx, `
		SELECT pg_catalog.pg_has_role(n.nspowner, 'USAGE'), pg_catalog.pg_get_userbyid(n.nspowner), coalesce(pg_catalog.obj_description(n.oid, 'pg_namespace'), ''),
		       NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = n.oid) AND NOT EXISTS (SELECT FROM pg_catalog.pg_type WHERE typnamespace = n.oid)
		       AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc WHERE pronamespace = n.oid)
		FROM pg_catalog.pg_namespace n WHERE n.nspname = $1`, name).Scan(&f.ours, &f.owner, &f.comment, &f.empty)
	if errors.Is(err, pgx.ErrNoRows) {
		return schemaFacts{}, nil
	}
	return f, err
}

// foreign says why a schema must not be touched, or nil.
func (f schemaFacts) foreign(name string) error {
	marked := strings.HasPrefix(f.comment, mark)
	e := &ForeignSchemaError{Schema: name, Owner: f.owner}
	owner := fmt.Sprintf("ALTER SCHEMA %s OWNER TO <the worker's role>, or connect as %s.", pgx.Identifier{name}.Sanitize(), pgx.Identifier{f.owner}.Sanitize())
	switch {
	case f.ours && (marked || f.empty):
		return nil
	case marked:
		e.Reason, e.Hint = fmt.Sprintf("it is Spillway's, but belongs to role %q", f.owner), owner
	case f.empty:
		e.Reason, e.Hint = fmt.Sprintf("it is empty, but belongs to role %q", f.owner), owner
	default:
		e.Reason = "it holds objects that are not Spillway's"
		e.Hint = "Rename it, or choose other names with --ledger-schema and --system-schema."
	}
	return e
}

func prepareSchema(ctx context.Context, tx pgx.Tx, name, comment string) error {
	f, err := readSchema(ctx, tx, name)
	if err != nil {
		return err
	}
	ident := pgx.Identifier{name}.Sanitize()
	if !f.exists {
		if err := createSchema(ctx, tx, name); err != nil {
			return err
		}
	} else if err := f.foreign(name); err != nil {
		return err
	}
	if f.comment == comment {
		return nil
	}
	return execAll(ctx, tx, "COMMENT ON SCHEMA "+ident+" IS '"+strings.ReplaceAll(comment, "'", "''")+"'")
}

// createSchema asks for the right first, so that the error names what is missing and who can cure it.
func createSchema(ctx context.Context, tx pgx.Tx, name string) error {
	var may bool
	var database, role string
	err := tx.QueryRow(ctx, `SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), pg_catalog.current_database(), current_user`).Scan(&may, &database, &role)
	if err != nil {
		return err
	}
	if !may {
		return &PrivilegeError{SQLState: "42501", Hint: grantsHint,
			Msg: fmt.Sprintf("role %q may not create the schema %q: permission denied for database %q", role, name, database)}
	}
	return execAll(ctx, tx, "CREATE SCHEMA "+pgx.Identifier{name}.Sanitize())
}

// applied returns the checksum of a version, or "" if it is not there.
func (l *Ledger) applied(ctx context.Context, tx pgx.Tx, version int) (string, error) {
	var sum string
	err := tx.QueryRow(ctx, l.expand(`SELECT checksum FROM @schema@.migrations WHERE version = $1`), version).Scan(&sum)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return sum, err
}

// apply runs one migration, if nobody has.
func (l *Ledger) apply(ctx context.Context, tx pgx.Tx, m migration, known int) error {
	var newest int
	if err := tx.QueryRow(ctx, l.expand(`SELECT coalesce(max(version), 0) FROM @schema@.migrations`)).Scan(&newest); err != nil {
		return err
	}
	if newest > known {
		return &VersionError{Found: newest, Known: known}
	}
	switch sum, err := l.applied(ctx, tx, m.version); {
	case err != nil:
		return err
	case sum == m.checksum:
		return nil
	case sum != "":
		return &ChecksumError{Version: m.version}
	}
	if err := execAll(ctx, tx, l.expand(m.sql)); err != nil {
		return fmt.Errorf("version %d: %w", m.version, err)
	}
	_, err := tx.Exec(ctx, l.expand(`INSERT INTO @schema@.migrations (version, checksum) VALUES ($1, $2)`), m.version, m.checksum)
	return err
}

// applyViews creates the views, or replaces them if their text has changed; grants on them stay.
func (l *Ledger) applyViews(ctx context.Context, tx pgx.Tx) error {
	m, err := readMigration("views.sql")
	if err != nil {
		return err
	}
	sum, err := l.applied(ctx, tx, viewsRow)
	if err != nil {
		return err
	}
	var there bool
	err = tx.QueryRow(ctx, `SELECT pg_catalog.to_regclass($1) IS NOT NULL`, pgx.Identifier{l.system, "jobs"}.Sanitize()).Scan(&there)
	if err != nil || there && sum == m.checksum {
		return err
	}
	if err := execAll(ctx, tx, l.expand(m.sql)); err != nil {
		return fmt.Errorf("views: %w", err)
	}
	_, err = tx.Exec(ctx, l.expand(`
		INSERT INTO @schema@.migrations (version, checksum) VALUES ($1, $2)
		ON CONFLICT (version) DO UPDATE SET checksum = excluded.checksum, applied_at = pg_catalog.now()`), viewsRow, m.checksum)
	return err
}

// execAll runs a script in the transaction.
func execAll(ctx context.Context, tx pgx.Tx, script string) error {
	_, err := tx.Conn().PgConn().Exec(ctx, script).ReadAll()
	return err
}
