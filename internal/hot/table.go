package hot

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Table is what the catalog says of a relation. It can be written as JSON and read back.
type Table struct {
	OID         uint32
	RelFileNode uint32 // changes when the table is rewritten or truncated
	Schema      string
	Name        string
	RelKind     string // pg_class.relkind: r table, p partitioned, v view, m materialized view, f foreign table, …
	Persistence string // p permanent, u unlogged, t temporary
	Method      string // access method, "" for relations without storage
	Encoding    string // of the database
	Reserved    bool   // in a schema that is never flushed
	Extension   string // "timescaledb" or "citus" if it manages this table

	BlockSize    int
	Blocks       uint32
	RowsEstimate int64 // by the statistics, scaled to the present size
	Guessed      bool  // never analyzed: RowsEstimate is a guess by the size

	Columns    []Column
	PrimaryKey []string // names, in order; nil if there is none

	Partition bool       // of a partitioned table
	Ancestors []uint32   // the tables whose rows its own are too: of all levels, by partitioning or inheritance
	Leaves    []LeafName // of a partitioned table its leaves; of an inheritance parent itself and all its heirs; else nil

	DeleteRules    []string
	Folded         []string // expressions by which planning a statement would run users' functions
	DeleteTriggers []Trigger
	InboundFKs     []ForeignKey
	RLS            bool // row security would apply to this role
	HasIdentity    bool // a replica identity that logical replication can use
	Publications   []string
	Privileges     Privileges
	MayVacuum      bool         // this role may VACUUM it
	Whole          *WholeRights // of a partition; else nil
}

// Column is one column, in the order of the table.
type Column struct {
	Number     int16
	Name       string
	TypeOID    uint32
	BaseOID    uint32 // after domains
	TypMod     int32  // after domains
	TypeName   string // of the base type
	TypeSchema string
	TypeKind   byte   // typtype of the base type: b, c, e, r, m, p
	Declared   string // the base type as PostgreSQL writes it: numeric(12,2)
	Domain     string // qualified, or ""
	Collation  string // qualified, or "" for the type's own
	NotNull    bool
	HasElem    bool   // an array type
	Generated  string // attgenerated: s stored, v virtual, or ""
	Identity   string // attidentity: a always, d by default, or ""

	Extension  string // that the base type belongs to, or ""
	Elem       *Type
	Attributes []Attribute
}

// LeafName names a table that holds rows of another.
type LeafName struct {
	OID     uint32
	Schema  string
	Name    string
	RelKind string
}

// Trigger is a user's trigger on DELETE that fires in an ordinary session.
type Trigger struct {
	OID       uint32
	Name      string
	Function  string
	Statement bool // FOR EACH STATEMENT
	Before    bool
}

// ForeignKey is a constraint of a table that refers to this one.
type ForeignKey struct {
	OID       uint32
	Name      string
	Schema    string // of the referring table
	Table     string
	OnDelete  string   // confdeltype: a no action, r restrict, c cascade, n set null, d set default
	From      []string // columns of the referring table
	To        []string // columns of this table
	Operators []string // OPERATOR(schema.=), this table on the left
	Cast      bool     // to compare, a function that may be a user's makes one type of another
	Readable  bool     // this role may read the referring table
}

// Privileges are the rights of this role that a flush needs.
type Privileges struct {
	Usage  bool // on the schema
	Select bool // on the whole table
	Delete bool
	Update bool // on any column: PostgreSQL wants it for FOR UPDATE, by which rows that others hold are passed over
}

// Partitioned reports whether rows live in Leaves and not, or not only, in the table itself.
func (t *Table) Partitioned() bool { return len(t.Leaves) > 0 || t.RelKind == "p" }

// Ident is the quoted, qualified name.
func (t *Table) Ident() string { return pgx.Identifier{t.Schema, t.Name}.Sanitize() }

// scaledRows does what the planner does: the density of the last ANALYZE, at today's size. A table that was never analyzed
// gets a guess.
func scaledRows(tuples float64, pages int64, t *Table) int64 {
	const guessedRowBytes = 128
	switch {
	case t.Blocks == 0:
		return 0
	case tuples >= 0 && pages > 0:
		return int64(tuples/float64(pages)*float64(t.Blocks) + 0.5)
	}
	return int64(t.Blocks) * int64(t.BlockSize) / guessedRowBytes
}

// SameShape compares two looks at a table. What is compared is all that could change which rows a chunk's DELETE returns,
// what they look like, or what else it does; size, statistics and rights are not. The text names what differs.
func SameShape(a, b *Table) (string, bool) {
	for _, c := range []struct {
		what string
		same bool
	}{
		{"it was dropped and made anew", a.OID == b.OID},
		{"its name", a.Schema == b.Schema && a.Name == b.Name},
		{"its kind", a.RelKind == b.RelKind && a.Persistence == b.Persistence && a.Method == b.Method && a.Extension == b.Extension},
		{"it was rewritten or truncated", a.RelFileNode == b.RelFileNode},
		{"its columns", slices.EqualFunc(a.Columns, b.Columns, sameColumn)},
		{"its primary key", slices.Equal(a.PrimaryKey, b.PrimaryKey)},
		{"its place in a partitioned table", a.Partition == b.Partition && slices.Equal(a.Ancestors, b.Ancestors) && slices.Equal(a.Leaves, b.Leaves)},
		{"its rules", slices.Equal(a.DeleteRules, b.DeleteRules)},
		{"its triggers", slices.Equal(a.DeleteTriggers, b.DeleteTriggers)},
		{"foreign keys that refer to it", slices.EqualFunc(a.InboundFKs, b.InboundFKs, sameFK)},
		{"its expressions that planning evaluates", slices.Equal(a.Folded, b.Folded)},
		{"its row security", a.RLS == b.RLS},
		{"its publications", slices.Equal(a.Publications, b.Publications) && a.HasIdentity == b.HasIdentity},
	} {
		if !c.same {
			return c.what, false
		}
	}
	return "", true
}

func sameFK(a, b ForeignKey) bool {
	return a.OID == b.OID && a.OnDelete == b.OnDelete && a.Schema == b.Schema && a.Table == b.Table &&
		a.Cast == b.Cast && slices.Equal(a.From, b.From) && slices.Equal(a.To, b.To) && slices.Equal(a.Operators, b.Operators)
}

// NotReferenced is a predicate that holds for rows that no foreign key refers to, or "" if no table refers to this one. It
// names the table as FROM ONLY schema.table does, without an alias.
func (t *Table) NotReferenced() string {
	var parts []string
	for _, fk := range t.InboundFKs {
		var on []string
		for i := range fk.From {
			on = append(on, pgx.Identifier{t.Name, fk.To[i]}.Sanitize()+" "+fk.Operators[i]+" "+pgx.Identifier{"spillway_ref", fk.From[i]}.Sanitize())
		}
		parts = append(parts, "NOT EXISTS (SELECT 1 FROM "+pgx.Identifier{fk.Schema, fk.Table}.Sanitize()+" AS spillway_ref WHERE "+strings.Join(on, " AND ")+")")
	}
	return strings.Join(parts, " AND ")
}
