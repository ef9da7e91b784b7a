package hot

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// stage is the temporary table through which rows go of which some may stay cold.
const stage = "pg_temp.spillway_stage"

// Refill says how the rows of a file get back into a table. The stream has one value per entry of Fields, in their order.
type Refill struct {
	Schema, Table string
	Fields        []Field // of the stream
	Predicate     string  // in PostgreSQL's own deparsed form, or "": which rows go back; the others stay on the stage
	SkipConflicts bool    // rows that a unique or exclusion constraint forbids stay on the stage
}

// Field is one value of a row of the stream.
type Field struct {
	Column string // of the table, or "" for what the table has no place for
	Insert bool   // it goes into the table; others, of generated columns, are there for the predicate and for what stays cold
	Stage  string // with Column "": its column of the stage
	Type   string // with Column "": as PostgreSQL writes it
}

// stageColumn is the field's column of the stage.
func (f Field) stageColumn() string {
	if f.Column != "" {
		return pgx.Identifier{f.Column}.Sanitize()
	}
	return pgx.Identifier{f.Stage}.Sanitize()
}

// StageTypes are the types that the stage has beside those of the table.
func (r *Refill) StageTypes() (types []string) {
	for _, f := range r.Fields {
		if f.Column == "" {
			types = append(types, f.Type)
		}
	}
	return types
}

func (r *Refill) ident() string { return pgx.Identifier{r.Schema, r.Table}.Sanitize() }

// columns lists the columns of the table that get values of the stream.
func (r *Refill) columns(prefix string) string {
	var out []string
	for _, f := range r.Fields {
		if f.Insert {
			out = append(out, prefix+pgx.Identifier{f.Column}.Sanitize())
		}
	}
	return strings.Join(out, ", ")
}

// BeginRefill opens the transaction that puts rows back. READ COMMITTED, as for a move: conflicts with rows that others insert
// are met by constraints and not by snapshots.
func (s *Session) BeginRefill(ctx context.Context) error {
	if err := s.conn.PgConn().Exec(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "+durableCommit).Close(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return nil
}

// LockTree is LockTable for a table and, if whole, all partitions below it.
func (s *Session) LockTree(ctx context.Context, schema, table string, whole bool) error {
	if !whole {
		return s.LockTable(ctx, schema, table)
	}
	if _, err := s.Exec(ctx, "LOCK TABLE "+pgx.Identifier{schema, table}.Sanitize()+" IN ROW EXCLUSIVE MODE"); err != nil {
		return fmt.Errorf("lock table: %w", err)
	}
	return nil
}

// CopyInto puts all rows of a stream in COPY's text format straight into the table. It returns how many rows PostgreSQL says it
// inserted: fewer than there were, if a trigger kept some out.
func (s *Session) CopyInto(ctx context.Context, r *Refill, rows io.Reader) (int64, error) {
	return s.copyIn(ctx, "COPY "+r.ident()+" ("+r.columns("")+") FROM STDIN", rows)
}

func (s *Session) copyIn(ctx context.Context, sql string, rows io.Reader) (int64, error) {
	g := &gate{r: rows}
	defer g.shut()
	tag, err := s.conn.PgConn().CopyFrom(ctx, g, sql)
	return tag.RowsAffected(), err
}

// gate keeps pgx from reading on after a COPY: when the connection breaks, pgx returns before its own goroutine has ended.
type gate struct {
	mu   sync.Mutex
	r    io.Reader
	gone bool
}

func (g *gate) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return 0, io.ErrClosedPipe
	}
	return g.r.Read(p)
}

// shut returns when nobody reads any more.
func (g *gate) shut() {
	g.mu.Lock()
	g.gone = true
	g.mu.Unlock()
}

// CopyToStage makes the stage and puts all rows of a stream there. A predicate finds the table's columns in it, of the types
// that they have in the table.
func (s *Session) CopyToStage(ctx context.Context, r *Refill, rows io.Reader) (int64, error) {
	var made, filled []string
	for _, f := range r.Fields {
		filled = append(filled, f.stageColumn())
		if f.Column != "" {
			made = append(made, f.stageColumn())
			continue
		}
		made = append(made, "NULL::"+f.Type+" AS "+f.stageColumn())
	}
	sql := "CREATE TEMPORARY TABLE " + stage + " ON COMMIT DROP AS SELECT " + strings.Join(made, ", ") + " FROM ONLY " + r.ident() + " WITH NO DATA"
	if _, err := s.Exec(ctx, sql); err != nil {
		return 0, fmt.Errorf("make stage: %w", err)
	}
	return s.copyIn(ctx, "COPY "+stage+" ("+strings.Join(filled, ", ")+") FROM STDIN", rows)
}

// Unstage moves the rows of the stage that are to go back into the table. It returns how many it put there and how many it left.
// That the two make up what was on the stage is for the caller to check: a trigger may have kept rows out of the table.
func (s *Session) Unstage(ctx context.Context, r *Refill) (inserted, left int64, err error) {
	if r.SkipConflicts {
		_, err = s.Exec(ctx, r.skippingSQL())
	} else {
		inserted, err = s.unstageAll(ctx, r)
	}
	if err != nil {
		return 0, 0, err
	}
	if err := s.QueryRow(ctx, "SELECT pg_catalog.count(*) FROM "+stage).Scan(&left); err != nil {
		return 0, 0, fmt.Errorf("count rows left: %w", err)
	}
	return inserted, left, nil
}

func (s *Session) unstageAll(ctx context.Context, r *Refill) (int64, error) {
	tag, err := s.Exec(ctx, "WITH spillway_moved AS (DELETE FROM "+stage+r.where()+" RETURNING *) INSERT INTO "+r.ident()+" ("+r.columns("")+
		") OVERRIDING SYSTEM VALUE SELECT "+r.columns("")+" FROM spillway_moved")
	return tag.RowsAffected(), err
}

// where is the predicate as a clause. The line break keeps a comment at its end to itself.
func (r *Refill) where() string {
	if r.Predicate == "" {
		return ""
	}
	return " WHERE (" + r.Predicate + "\n)"
}

// skippingSQL goes row by row: ON CONFLICT DO NOTHING does not say which rows it passed over, and no key can tell, for another
// constraint may be the one that was hurt.
func (r *Refill) skippingSQL() string {
	body := "#variable_conflict use_column\n" +
		"DECLARE spillway_rows CURSOR FOR SELECT * FROM " + stage + r.where() + " FOR UPDATE;\n" +
		"BEGIN FOR spillway_one IN spillway_rows LOOP\n" +
		"INSERT INTO " + r.ident() + " (" + r.columns("") + ") OVERRIDING SYSTEM VALUE VALUES (" + r.columns("spillway_one.") + ") ON CONFLICT DO NOTHING;\n" +
		"IF FOUND THEN DELETE FROM " + stage + " WHERE CURRENT OF spillway_rows; END IF;\n" +
		"END LOOP; END"
	return "DO '" + strings.ReplaceAll(body, "'", "''") + "'"
}

// CopyStaged writes what is left on the stage to w, in the binary COPY format. columns are expressions over the stage.
func (s *Session) CopyStaged(ctx context.Context, columns []string, w io.Writer) (int64, error) {
	return s.copyOut(ctx, "COPY (SELECT "+strings.Join(columns, ", ")+" FROM "+stage+") TO STDOUT (FORMAT binary)", w)
}
