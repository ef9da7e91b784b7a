package hot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/fault"
)

// Outcome is what is known of a transaction after its end was asked for.
type Outcome int

const (
	// OutcomeUnknown: no answer that proves anything. The transaction may have committed.
	OutcomeUnknown Outcome = iota
	// OutcomeCommitted: the tag COMMIT and ReadyForQuery were received.
	OutcomeCommitted
	// OutcomeRolledBack: the tag ROLLBACK, or an ERROR followed by ReadyForQuery outside of a transaction.
	OutcomeRolledBack
)

func (o Outcome) String() string {
	switch o {
	case OutcomeCommitted:
		return "committed"
	case OutcomeRolledBack:
		return "rolled back"
	}
	return "unknown"
}

// Move says which rows a session deletes and in which form it gets them.
type Move struct {
	Schema, Table string    // the leaf
	Columns       []string  // expressions of the RETURNING list, in order
	First         uint32    // first block
	End           uint32    // block after the last; 0: to the end of the table
	Range         *KeyRange // found by an index, in place of the blocks; nil: a block range
	Predicate     string    // in PostgreSQL's own deparsed form, or ""
	Whole         *Whole    // take all rows of a partition at once; nil: DELETE
	SkipLocked    bool      // leave rows whose locks others hold

	Keys []string // expressions of type text, which come first in each row and by which the rows are sorted, byte by byte
	Sort []SortKey
}

// SortKey is a part of the order in which rows come, behind the keys.
type SortKey struct {
	Expr       string
	Descending bool
	NullsFirst bool
}

// Sorted reports whether the rows come in an order. Then PostgreSQL has to have them all before it sends the first.
func (m *Move) Sorted() bool { return len(m.Keys)+len(m.Sort) > 0 }

// durableCommit: off, local and remote_write could lose a commit whose object is already registered with the outside.
const durableCommit = "SELECT pg_catalog.set_config('synchronous_commit', CASE WHEN pg_catalog.current_setting('synchronous_commit') = 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)"

// slowReader is the tcp_user_timeout of a move whose rows become many files, in milliseconds.
const slowReader = "300000"

// Begin opens the transaction that moves a chunk. READ COMMITTED on purpose: REPEATABLE READ would fail on any concurrent
// update. The planner is held to the way that was planned: with an index or bitmap scan a block range would become a filter, and
// each chunk would read the whole table; without one, so would a range of keys.
func (s *Session) Begin(ctx context.Context, m *Move) error {
	set := []string{
		"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
		durableCommit,
	}
	if m.Whole != nil { // all of it is read in one statement, however long that takes
		set = append(set, "SET LOCAL statement_timeout = 0")
	} else {
		set = append(set, "SET LOCAL enable_seqscan = off")
	}
	if m.Range == nil && m.Whole == nil {
		set = append(set, "SET LOCAL enable_indexscan = off", "SET LOCAL enable_indexonlyscan = off", "SET LOCAL enable_bitmapscan = off")
	}
	if m.SkipLocked {
		set = append(set, "SET LOCAL enable_hashjoin = off", "SET LOCAL enable_mergejoin = off")
	}
	if len(m.Keys) > 0 {
		// Between two reads of the stream hundreds of small files may be written. A receiver that does not read for so long
		// is not gone: PostgreSQL's end would be closed by the session's own limit.
		set = append(set, "SET LOCAL tcp_user_timeout = "+slowReader)
	}
	if err := s.conn.PgConn().Exec(ctx, strings.Join(set, "; ")).Close(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return nil
}

// LockTable takes ROW EXCLUSIVE on the leaf. From then on nobody can change its columns, rules or triggers, so what is
// read afterwards holds until the end of the transaction.
func (s *Session) LockTable(ctx context.Context, schema, table string) error {
	if _, err := s.Exec(ctx, "LOCK TABLE ONLY "+pgx.Identifier{schema, table}.Sanitize()+" IN ROW EXCLUSIVE MODE"); err != nil {
		return fmt.Errorf("lock table: %w", err)
	}
	return nil
}

// ConstraintsNow makes deferred constraints speak during the COPY and not at COMMIT.
func (s *Session) ConstraintsNow(ctx context.Context) error {
	if _, err := s.Exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
		return fmt.Errorf("set constraints: %w", err)
	}
	return nil
}

// CopyOut deletes the rows of the move and writes them to w as PostgreSQL streams them, in the binary COPY format. It
// returns how many rows PostgreSQL says it deleted.
func (s *Session) CopyOut(ctx context.Context, m *Move, w io.Writer) (int64, error) {
	return s.copyOut(ctx, m.sql(), w)
}

func (s *Session) copyOut(ctx context.Context, sql string, w io.Writer) (int64, error) {
	s.tap.open(w)
	tag, err := s.conn.PgConn().CopyTo(ctx, io.Discard, sql)
	if sinkErr := s.tap.close(); sinkErr != nil {
		return 0, sinkErr
	}
	if err != nil {
		return 0, err
	}
	return tag.RowsAffected(), nil
}

// CountLeft counts the rows of the move that its own transaction still sees: those that SkipLocked passed over.
func (s *Session) CountLeft(ctx context.Context, m *Move) (int64, error) {
	var n int64
	err := s.QueryRow(ctx, "SELECT pg_catalog.count(*) FROM ONLY "+m.ident()+" WHERE "+m.where()).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count rows left: %w", err)
	}
	return n, nil
}

func (m *Move) ident() string { return pgx.Identifier{m.Schema, m.Table}.Sanitize() }

// where is the range and the predicate. The last range is open-ended, for the table may grow.
func (m *Move) where() string {
	w := fmt.Sprintf("ctid >= '(%d,0)'::pg_catalog.tid", m.First)
	if m.End != 0 {
		w += fmt.Sprintf(" AND ctid < '(%d,0)'::pg_catalog.tid", m.End)
	}
	if m.Range != nil {
		if w = m.Range.Condition(); w == "" {
			w = "true"
		}
	}
	if m.Predicate != "" {
		w += " AND (" + m.Predicate + "\n)"
	}
	return w
}

func (m *Move) sql() string {
	if m.Sorted() {
		return "COPY (" + m.sortedSQL() + ") TO STDOUT (FORMAT binary)"
	}
	free, rows := m.rowsSQL(m.Columns)
	if free != "" {
		free = "WITH " + free + " "
	}
	return "COPY (" + free + rows + ") TO STDOUT (FORMAT binary)"
}

// rowsSQL is the statement that takes the rows and gives the expressions of list, and the WITH query that it needs, if it does.
func (m *Move) rowsSQL(list []string) (free, rows string) {
	returning := strings.Join(list, ", ")
	switch {
	case m.Whole != nil:
		return "", "SELECT " + returning + " FROM ONLY " + m.ident()
	case !m.SkipLocked:
		return "", "DELETE FROM ONLY " + m.ident() + " WHERE " + m.where() + " RETURNING " + returning
	}
	return "spillway_free AS MATERIALIZED (SELECT ctid AS spillway_ctid FROM ONLY " + m.ident() + " WHERE " + m.where() + " FOR UPDATE SKIP LOCKED)",
		"DELETE FROM ONLY " + m.ident() + " AS spillway_row USING spillway_free WHERE spillway_row.ctid = spillway_free.spillway_ctid RETURNING " + returning
}

// sortedSQL reads the deleted rows through a query that sorts them, for RETURNING has no order. PostgreSQL runs the DELETE to
// its end whatever the query reads, and the query, which has no condition, reads each row that it returns, once. Columns get
// names of ours, so that no name of the table can be taken for another.
func (m *Move) sortedSQL() string {
	var returning, list, order []string
	name := func(letter string, i int, expr string) string {
		n := fmt.Sprintf("%s%d", letter, i+1)
		returning = append(returning, expr+" AS "+n)
		return n
	}
	for i, expr := range m.Keys {
		n := name("k", i, expr)
		list = append(list, n)
		order = append(order, n+` COLLATE pg_catalog."C"`)
	}
	for i, expr := range m.Columns {
		list = append(list, name("c", i, expr))
	}
	for i, key := range m.Sort {
		order = append(order, name("s", i, key.Expr)+key.direction())
	}
	free, rows := m.rowsSQL(returning)
	if free != "" {
		free += ", "
	}
	return "WITH " + free + "spillway_moved AS (" + rows + ")" +
		" SELECT " + strings.Join(list, ", ") + " FROM spillway_moved ORDER BY " + strings.Join(order, ", ")
}

func (k SortKey) direction() string {
	out := " ASC"
	if k.Descending {
		out = " DESC"
	}
	if k.NullsFirst {
		return out + " NULLS FIRST"
	}
	return out + " NULLS LAST"
}

// ReturningColumn is the expression that brings a column in PostgreSQL's binary form.
func ReturningColumn(name string) string { return pgx.Identifier{name}.Sanitize() }

// ReturningText is the expression that brings a column in PostgreSQL's output form. concat and not a cast: a cast strips
// the padding of char(n), adds /32 to an inet, and may be the user's own. concat makes ” of NULL, hence the CASE; IS
// DISTINCT FROM and not IS NOT NULL, for a row of NULLs is not NULL.
func ReturningText(name string) string {
	c := pgx.Identifier{name}.Sanitize()
	return "CASE WHEN " + c + " IS DISTINCT FROM NULL THEN pg_catalog.concat(" + c + ") END"
}

// Commit asks for the commit and says what is known. ctx should not be the job's: after COMMIT is sent its answer is worth
// waiting for. err explains any outcome but OutcomeCommitted.
func (s *Session) Commit(ctx context.Context) (Outcome, error) {
	tag := ""
	err := fault.Do(ctx, fault.Commit, func() (err error) { tag, err = s.execTag(ctx, "COMMIT"); return err })
	return s.outcome(tag, err)
}

// Rollback ends the transaction. Only OutcomeRolledBack proves that it did not commit.
func (s *Session) Rollback(ctx context.Context) (Outcome, error) {
	tag, err := s.execTag(ctx, "ROLLBACK")
	return s.outcome(tag, err)
}

// execTag runs a statement without parameters and waits for ReadyForQuery.
func (s *Session) execTag(ctx context.Context, sql string) (string, error) {
	results, err := s.conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	if len(results) != 1 {
		return "", fmt.Errorf("%s: %d results, expected 1", sql, len(results))
	}
	return results[0].CommandTag.String(), results[0].Err
}

func (s *Session) outcome(tag string, err error) (Outcome, error) {
	ready := !s.conn.IsClosed() && s.conn.PgConn().TxStatus() == 'I'
	switch {
	case err == nil && ready && tag == "COMMIT":
		return OutcomeCommitted, nil
	case err == nil && ready && tag == "ROLLBACK":
		return OutcomeRolledBack, errors.New("the server rolled the transaction back")
	case err == nil:
		return OutcomeUnknown, fmt.Errorf("unexpected answer %q", tag)
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) && severity(pe) == "ERROR" && ready {
		return OutcomeRolledBack, err
	}
	return OutcomeUnknown, err
}

// severity is the untranslated severity where the server sends one.
func severity(e *pgconn.PgError) string {
	if e.SeverityUnlocalized != "" {
		return e.SeverityUnlocalized
	}
	return e.Severity
}

// CommitTimeout is how long an answer to COMMIT is waited for before the outcome counts as unknown.
const CommitTimeout = time.Minute
