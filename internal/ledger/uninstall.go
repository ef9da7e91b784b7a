package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// UninstallOptions say what else Uninstall may do; nil: nothing.
type UninstallOptions struct {
	// Cascade drops what others have built upon our views and tables: views, functions, constraints. Never a table or one of its columns.
	Cascade bool
	// AbandonJobs removes the ledger although it says that jobs have not ended.
	AbandonJobs bool
	// DryRun finds out whether it would work, and changes nothing.
	DryRun bool
}

// Process is a connection of a process that works with the ledger.
type Process struct {
	Backend int32  // the server's process
	Name    string // its application_name: spillway, or spillway:<job>:<chunk>
	Client  string // address, or "local"
	Since   time.Time
}

// Leftover is what stays behind in a storage when the ledger goes.
type Leftover struct {
	Schema, Table         string
	Storage, Location     string // of the storage: name and URL
	Segments, Rows, Bytes int64  // that count as cold
	OldSegments, OldBytes int64  // restored or replaced ones
}

// Leftovers sums up the files that the ledger knows, by table and storage.
func (l *Ledger) Leftovers(ctx context.Context) ([]Leftover, error) {
	return collect(ctx, l.pool, "sum up segments", func(row pgx.CollectableRow) (f Leftover, err error) {
		err = row.Scan(&f.Schema, &f.Table, &f.Storage, &f.Location, &f.Segments, &f.Rows, &f.Bytes, &f.OldSegments, &f.OldBytes)
		return f, err
	}, l.expand(`
		SELECT g.table_schema, g.table_name, g.storage, coalesce(s.location, ''),
		       count(*) FILTER (WHERE live), coalesce(sum(g.row_count) FILTER (WHERE live), 0)::bigint, coalesce(sum(g.bytes) FILTER (WHERE live), 0)::bigint,
		       count(*) FILTER (WHERE NOT live), coalesce(sum(g.bytes) FILTER (WHERE NOT live), 0)::bigint
		FROM @schema@.segments g LEFT JOIN @schema@.storages s ON s.name = g.storage
		CROSS JOIN LATERAL (SELECT g.restored_at IS NULL AND g.replaced_at IS NULL) AS l(live)
		GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3`))
}

// Installed reports which of the two schemas are there and ours. A schema system that somebody else made, without our mark,
// is nothing of ours and no error; everything else that keeps us from removing what is ours is a *ForeignSchemaError.
func (l *Ledger) Installed(ctx context.Context) (schemas []string, foreign *ForeignSchemaError, err error) {
	return l.installed(ctx, l.pool)
}

func (l *Ledger) installed(ctx context.Context, q Querier) (schemas []string, foreign *ForeignSchemaError, err error) {
	for _, name := range []string{l.schema, l.system} { // the ledger's first: the other one is judged by it
		f, err := readSchema(ctx, q, name)
		if err != nil {
			return nil, nil, err
		}
		if !f.exists {
			continue
		}
		why := f.foreign(name)
		switch {
		case why == nil:
			schemas = append(schemas, name)
			continue
		case name == l.system && len(schemas) > 0 && !strings.HasPrefix(f.comment, mark):
			errors.As(why, &foreign)
			continue
		}
		return nil, nil, why
	}
	return schemas, foreign, nil
}

// Uninstall removes the ledger and its views, if they are ours; calling it again is no error. Segments' files stay where
// they are. It is one transaction, under the lock of Migrate.
//
// The ledger's pool must have one connection only, or the others count as users of the ledger.
//
// It drops by name what the migrations made, and the schemas without CASCADE: what somebody else put into them makes it fail.
// Errors: *ForeignSchemaError, *InUseError, *LiveJobsError, *DependentError, *VersionError.
func (l *Ledger) Uninstall(ctx context.Context, opt *UninstallOptions) error {
	if opt == nil {
		opt = &UninstallOptions{}
	}
	errDry := errors.New("dry run")
	err := l.inTx(ctx, func(tx pgx.Tx) error {
		if err := l.uninstallTx(ctx, tx, opt); err != nil {
			return err
		}
		if opt.DryRun {
			return errDry
		}
		return nil
	})
	if errors.Is(err, errDry) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	return nil
}

// uninstallLockTimeout bounds the wait for readers of the views.
const uninstallLockTimeout = "5s"

func (l *Ledger) uninstallTx(ctx context.Context, tx pgx.Tx, opt *UninstallOptions) error {
	set := "SET LOCAL search_path = ''; SET LOCAL statement_timeout = 0; SET LOCAL client_min_messages = warning; SET LOCAL lock_timeout = '" + uninstallLockTimeout + "'"
	if err := execAll(ctx, tx, set); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('spillway:migrate:' || $1, 0))`, l.schema)
	if err != nil {
		return err
	}
	schemas, _, err := l.installed(ctx, tx)
	if err != nil || len(schemas) == 0 {
		return err
	}
	if slices.Contains(schemas, l.schema) {
		if err := l.mayUninstall(ctx, tx, opt); err != nil {
			return err
		}
	}
	return l.dropAll(ctx, tx, schemas, opt.Cascade)
}

// mayUninstall refuses while somebody needs the ledger.
func (l *Ledger) mayUninstall(ctx context.Context, tx pgx.Tx, opt *UninstallOptions) error {
	users, err := l.processes(ctx, tx)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return &InUseError{Processes: users}
	}
	var made bool // a ledger that never got as far holds no jobs
	if err := tx.QueryRow(ctx, `SELECT pg_catalog.to_regclass($1) IS NOT NULL`, pgx.Identifier{l.schema, "claims"}.Sanitize()).Scan(&made); err != nil || !made {
		return err
	}
	jobs, err := collect(ctx, tx, "list claims", pgx.RowTo[string], l.expand(`SELECT job_id FROM @schema@.claims ORDER BY job_id`))
	if err != nil {
		return err
	}
	if len(jobs) > 0 && !opt.AbandonJobs {
		return &LiveJobsError{Jobs: jobs}
	}
	steps, err := migrations()
	if err != nil {
		return err
	}
	var newest int
	if err := tx.QueryRow(ctx, l.expand(`SELECT coalesce(max(version), 0) FROM @schema@.migrations`)).Scan(&newest); err != nil {
		return err
	}
	if newest > len(steps) {
		return &VersionError{Found: newest, Known: len(steps)}
	}
	return nil
}

// processes lists the connections of others that bear our names. Each process of ours keeps at least one, so that this is
// the list of those that use the ledger.
func (l *Ledger) processes(ctx context.Context, q Querier) ([]Process, error) {
	return collect(ctx, q, "list processes", func(row pgx.CollectableRow) (p Process, err error) {
		err = row.Scan(&p.Backend, &p.Name, &p.Client, &p.Since)
		return p, err
	}, `
		SELECT pid, application_name, coalesce(pg_catalog.host(client_addr), 'local'), backend_start FROM pg_catalog.pg_stat_activity
		WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()
		  AND (application_name = 'spillway' OR application_name LIKE 'spillway:%') ORDER BY backend_start, pid`)
}

// made finds what the scripts create.
var made = regexp.MustCompile(`CREATE (?:OR REPLACE )?(TABLE|VIEW|FUNCTION|SEQUENCE|TYPE) (?:IF NOT EXISTS )?@(schema|system)@\.(\w+)`)

// ownObjects lists what Migrate makes, by kind, as names with their schemas.
func (l *Ledger) ownObjects(schemas []string) (map[string][]string, error) {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	own := map[string][]string{}
	if slices.Contains(schemas, l.schema) {
		own["TABLE"] = []string{l.expand("@schema@.migrations")}
	}
	for _, name := range append(names, "views.sql") {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for _, m := range made.FindAllStringSubmatch(string(text), -1) {
			schema := map[string]string{"schema": l.schema, "system": l.system}[m[2]]
			object := pgx.Identifier{schema, m[3]}.Sanitize()
			if slices.Contains(schemas, schema) && !slices.Contains(own[m[1]], object) {
				own[m[1]] = append(own[m[1]], object)
			}
		}
	}
	return own, nil
}

// dropAll drops our own objects, and then the schemas.
func (l *Ledger) dropAll(ctx context.Context, tx pgx.Tx, schemas []string, cascade bool) error {
	own, err := l.ownObjects(schemas)
	if err != nil {
		return err
	}
	before, err := foreignColumns(ctx, tx, own["TABLE"])
	if err != nil {
		return err
	}
	mode := " RESTRICT"
	if cascade {
		mode = " CASCADE"
	}
	for _, kind := range []string{"VIEW", "FUNCTION", "TABLE", "SEQUENCE", "TYPE"} {
		if len(own[kind]) == 0 {
			continue
		}
		if _, err := tx.Exec(ctx, "DROP "+kind+" IF EXISTS "+strings.Join(own[kind], ", ")+mode); err != nil {
			return dependent(err, "")
		}
	}
	after, err := foreignColumns(ctx, tx, own["TABLE"])
	if err != nil {
		return err
	}
	if after != before {
		return &DependentError{Reason: "dropping what depends on Spillway's would drop tables or columns of yours"}
	}
	for _, name := range schemas {
		if _, err := tx.Exec(ctx, "DROP SCHEMA "+pgx.Identifier{name}.Sanitize()+" RESTRICT"); err != nil {
			return dependent(err, name)
		}
	}
	return nil
}

// foreignColumns counts the columns of all tables that are not ours. A table without columns counts too.
func foreignColumns(ctx context.Context, tx pgx.Tx, own []string) (n int64, err error) {
	err = tx.QueryRow(ctx, `
		SELECT count(a.attnum) + count(DISTINCT c.oid) FROM pg_catalog.pg_class c
		LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
		  AND NOT EXISTS (SELECT FROM pg_catalog.unnest($1::text[]) AS own WHERE pg_catalog.to_regclass(own) = c.oid)`, own).Scan(&n)
	return n, err
}

// dependent turns PostgreSQL's refusal to drop what others need into ours.
func dependent(err error, schema string) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "2BP01" {
		return err
	}
	e := &DependentError{Reason: "other objects depend on Spillway's", Objects: strings.Split(pe.Detail, "\n"), Outside: true, Err: err}
	if schema != "" {
		e.Reason, e.Outside = fmt.Sprintf("the schema %q holds objects that are not Spillway's", schema), false
	}
	return e
}
