package embedtemporal

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/schema"
)

// step is one version of a set of tables.
type step struct {
	from, to, compatible, description, checksum string
	statements                                  []string
}

// manifest is what Temporal says of a step. The names are those of its files.
type manifest struct {
	CurrVersion          string
	MinCompatibleVersion string
	Description          string
	SchemaUpdateCqlFiles []string
}

// updateTables brings the tables of an earlier version up to date. Steps are made to be repeated, and some build indexes
// beside other work, so they are no transaction.
func (p *Postgres) updateTables(ctx context.Context) error {
	for _, set := range p.tableSets() {
		if err := p.updateSet(ctx, set); err != nil {
			return p.failed("update the tables in "+set.schema, err)
		}
	}
	return nil
}

func (p *Postgres) updateSet(ctx context.Context, set tableSet) error {
	conn, err := p.connect(ctx, "")
	if err != nil {
		return err
	}
	defer closeSoon(conn)
	if _, err := conn.Exec(ctx, "SELECT pg_catalog.set_config('search_path', $1::text, false)", quote(set.schema)); err != nil {
		return err
	}
	var stored string
	err = conn.QueryRow(ctx, `SELECT curr_version FROM schema_version WHERE version_partition = 0 AND db_name = $1::text`, set.name).Scan(&stored)
	if err != nil {
		return err
	}
	steps, err := stepsAfter(set, stored)
	if err != nil {
		return err
	}
	for _, s := range steps {
		p.opt.Logger.Info("updating the tables of the Temporal store", "schema", set.schema, "from", s.from, "to", s.to)
		if err := takeStep(ctx, conn, set, s); err != nil {
			return fmt.Errorf("version %s: %w", s.to, err)
		}
	}
	return nil
}

func takeStep(ctx context.Context, conn *pgx.Conn, set tableSet, s step) error {
	for _, stmt := range s.statements {
		if _, err := conn.Exec(ctx, stmt); err != nil && !doneBefore(err) {
			return err
		}
	}
	return writeVersion(ctx, conn, set, s)
}

// doneBefore reports whether a statement failed because an earlier try of the same step, cut off, had done it.
func doneBefore(err error) bool {
	switch sqlState(err) {
	case "42P07", "42701", "42710", "42723": // a table or index, a column, an object, a function that is there
		return true
	}
	return false
}

func writeVersion(ctx context.Context, conn interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}, set tableSet, s step) error {
	_, err := conn.Exec(ctx, `
		INSERT INTO schema_version (version_partition, db_name, creation_time, curr_version, min_compatible_version)
		VALUES (0, $1::text, pg_catalog.now() AT TIME ZONE 'UTC', $2::text, $3::text)
		ON CONFLICT (version_partition, db_name) DO UPDATE SET creation_time = excluded.creation_time, curr_version = excluded.curr_version,
			min_compatible_version = excluded.min_compatible_version`, set.name, s.to, s.compatible)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `
		INSERT INTO schema_update_history (version_partition, year, month, update_time, old_version, new_version, manifest_md5, description)
		SELECT 0, extract(year FROM t)::int, extract(month FROM t)::int, t, $1::text, $2::text, $3::text, $4::text
		FROM (SELECT pg_catalog.clock_timestamp() AT TIME ZONE 'UTC' AS t) now`, s.from, s.to, s.checksum, s.description)
	return err
}

// stepsAfter reads Temporal's steps from a version on, in order.
func stepsAfter(set tableSet, stored string) ([]step, error) {
	at, err := parseVersion(stored)
	if err != nil {
		return nil, err
	}
	dir := path.Join(set.source, "versioned")
	entries, err := fs.ReadDir(schema.Assets(), dir)
	if err != nil {
		return nil, err
	}
	var versions [][2]int
	for _, e := range entries {
		v, err := parseVersion(strings.TrimPrefix(e.Name(), "v"))
		if err != nil {
			return nil, err
		}
		if slices.Compare(v[:], at[:]) > 0 {
			versions = append(versions, v)
		}
	}
	slices.SortFunc(versions, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	var steps []step
	for _, v := range versions {
		s, err := readStep(path.Join(dir, fmt.Sprintf("v%d.%d", v[0], v[1])))
		if err != nil {
			return nil, err
		}
		s.from, stored = stored, s.to
		steps = append(steps, s)
	}
	return steps, nil
}

func readStep(dir string) (step, error) {
	text, err := fs.ReadFile(schema.Assets(), path.Join(dir, "manifest.json"))
	if err != nil {
		return step{}, err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return step{}, fmt.Errorf("%s: %w", dir, err)
	}
	sum := md5.Sum(text) // no secret: it tells versions of a file apart, as Temporal's own tool writes it
	s := step{to: m.CurrVersion, compatible: m.MinCompatibleVersion, description: m.Description, checksum: hex.EncodeToString(sum[:])}
	for _, name := range m.SchemaUpdateCqlFiles {
		script, err := fs.ReadFile(schema.Assets(), path.Join(dir, name))
		if err != nil {
			return step{}, err
		}
		stmts, err := persistence.LoadAndSplitQueryFromReaders([]io.Reader{bytes.NewReader(script)})
		if err != nil {
			return step{}, fmt.Errorf("%s: %w", dir, err)
		}
		s.statements = append(s.statements, stmts...)
	}
	return s, nil
}

// parseVersion reads a version like 1.14.
func parseVersion(text string) (v [2]int, err error) {
	major, minor, _ := strings.Cut(text, ".")
	if v[0], err = strconv.Atoi(major); err == nil {
		v[1], err = strconv.Atoi(minor)
	}
	if err != nil {
		return v, fmt.Errorf("version %q of Temporal's tables: expected the form 1.14", text)
	}
	return v, nil
}
