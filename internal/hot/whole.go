package hot

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Whole says that a move takes all rows of a partition by reading them and emptying its file, in place of a DELETE.
type Whole struct {
	Detach  bool      // and takes the emptied partition out of its table
	Parent  LeafName  // with Detach: the table that the partition is of
	Default *LeafName // with Detach: the parent's default partition, whose bounds change; nil: none, or a partitioned one
}

// WholeRights are what the catalog says about taking a partition whole.
type WholeRights struct {
	Truncate     bool     // this role may TRUNCATE it
	Owner        bool     // this role owns it
	Triggers     []string // on TRUNCATE
	Publications []string // that publish deletes or truncates
	Parent       LeafName
	ParentOwner  bool
	Default      *LeafName // the parent's default partition, if it is another one that has rows of its own
}

// RefuseWhole returns every reason why a partition cannot be taken whole, the gravest first. It is asked beside Refusals.
func (t *Table) RefuseWhole(detach bool) []Refusal {
	const instead = "whole_partition = delete moves the rows by DELETE and then runs VACUUM."
	if t.Whole == nil {
		return []Refusal{{wrongObject, "it is no partition", instead}}
	}
	w := t.Whole
	var out []Refusal
	if !w.Truncate {
		out = append(out, Refusal{noPrivilege, "permission denied: the worker's role lacks TRUNCATE",
			fmt.Sprintf("GRANT TRUNCATE ON %s TO the worker's role; or leave the option out: %s", t.Ident(), instead)})
	}
	if detach && !(w.Owner && w.ParentOwner) {
		out = append(out, Refusal{noPrivilege, fmt.Sprintf("permission denied: DETACH PARTITION takes the ownership of it and of %s.%s", w.Parent.Schema, w.Parent.Name),
			"whole_partition = truncate takes the right TRUNCATE only; or let the worker's role be a member of the owner's."})
	}
	for _, fk := range t.InboundFKs {
		out = append(out, Refusal{dependentsExist, fmt.Sprintf("foreign key %q of %s.%s refers to it, so PostgreSQL refuses TRUNCATE", fk.Name, fk.Schema, fk.Table), instead})
	}
	for _, name := range w.Triggers {
		out = append(out, Refusal{wrongState, fmt.Sprintf("its trigger %q on TRUNCATE would run", name), "Disable the trigger; or leave the option out: " + instead})
	}
	for _, g := range t.DeleteTriggers {
		out = append(out, Refusal{wrongState, fmt.Sprintf("its trigger %q on DELETE would not run", g.Name), instead})
	}
	if len(w.Publications) > 0 {
		out = append(out, Refusal{wrongState, "its publication " + strings.Join(w.Publications, ", ") + " would not publish what happens as deletes of its rows", instead})
	}
	return out
}

// wholeSQL is an expression of inspectTemplate: WholeRights as JSON, or NULL for what is no partition.
const wholeSQL = `CASE WHEN t.relispartition THEN (
	SELECT pg_catalog.json_build_object(
		'Truncate', pg_catalog.has_table_privilege(t.oid, 'TRUNCATE'), 'Owner', pg_catalog.pg_has_role(t.relowner, 'USAGE'),
		'Triggers', (SELECT pg_catalog.json_agg(g.tgname ORDER BY g.tgname) FROM pg_catalog.pg_trigger g
		             WHERE g.tgrelid = t.oid AND g.tgtype & 32 <> 0 AND g.tgenabled IN ('O', 'A') AND NOT g.tgisinternal),
		'Publications', (SELECT pg_catalog.json_agg(pub.pubname ORDER BY pub.pubname) FROM pg_catalog.pg_publication pub
		                 WHERE (pub.pubdelete OR pub.pubtruncate) AND t.relpersistence = 'p' AND (@published@)),
		'Parent', pg_catalog.json_build_object('OID', p.oid::bigint, 'Schema', pn.nspname, 'Name', p.relname, 'RelKind', p.relkind::text),
		'ParentOwner', pg_catalog.pg_has_role(p.relowner, 'USAGE'),
		'Default', (SELECT pg_catalog.json_build_object('OID', d.oid::bigint, 'Schema', dn.nspname, 'Name', d.relname, 'RelKind', d.relkind::text)
		            FROM pg_catalog.pg_partitioned_table pt JOIN pg_catalog.pg_class d ON d.oid = pt.partdefid JOIN pg_catalog.pg_namespace dn ON dn.oid = d.relnamespace
		            WHERE pt.partrelid = p.oid AND d.oid <> t.oid))
	FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
	WHERE i.inhrelid = t.oid) END`

// LockWhole takes ACCESS EXCLUSIVE on all that will change, in one statement and from the top down, as PostgreSQL itself does: a lock
// that is made stronger later is how deadlocks are made. It waits no longer than lock_timeout, and those who come meanwhile wait
// behind it.
func (s *Session) LockWhole(ctx context.Context, m *Move) error {
	var tables []string
	if m.Whole.Detach {
		tables = append(tables, "ONLY "+pgx.Identifier{m.Whole.Parent.Schema, m.Whole.Parent.Name}.Sanitize())
		if d := m.Whole.Default; d != nil {
			tables = append(tables, "ONLY "+pgx.Identifier{d.Schema, d.Name}.Sanitize())
		}
	}
	tables = append(tables, "ONLY "+m.ident())
	if _, err := s.Exec(ctx, "LOCK TABLE "+strings.Join(tables, ", ")+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		return fmt.Errorf("lock table: %w", err)
	}
	return nil
}

// Uncovered reports whether the partition has a row that the predicate does not match. It reads all rows, under the lock that
// keeps them as they are.
func (s *Session) Uncovered(ctx context.Context, m *Move) (found bool, err error) {
	if m.Predicate == "" {
		return false, nil
	}
	err = s.QueryRow(ctx, "SELECT EXISTS (SELECT FROM ONLY "+m.ident()+" WHERE ("+m.Predicate+"\n) IS NOT TRUE)").Scan(&found)
	if err != nil {
		return false, fmt.Errorf("look for rows that stay: %w", err)
	}
	return found, nil
}

// Empty empties the partition, whose rows have been read in this transaction, and detaches it if the move says so.
func (s *Session) Empty(ctx context.Context, m *Move) error {
	if _, err := s.Exec(ctx, "TRUNCATE TABLE ONLY "+m.ident()); err != nil {
		return fmt.Errorf("empty the partition: %w", err)
	}
	if !m.Whole.Detach {
		return nil
	}
	parent := pgx.Identifier{m.Whole.Parent.Schema, m.Whole.Parent.Name}.Sanitize()
	if _, err := s.Exec(ctx, "ALTER TABLE ONLY "+parent+" DETACH PARTITION "+m.ident()); err != nil {
		return fmt.Errorf("detach the partition: %w", err)
	}
	return nil
}
