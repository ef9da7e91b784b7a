package hot

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Insertion is what the catalog says of an INSERT into a table, or into a partitioned table and so into any of its partitions.
type Insertion struct {
	Rules        []string
	Triggers     []string // of users, that fire in an ordinary session; those of partitions as name (schema.table)
	Unlogged     []string // tables that would take rows and lose them in a crash
	Publications []string // that publish inserts
	Code         []Code   // expressions that call what their author may have written
	Insert       bool     // this role may insert
	Temporary    bool     // this role may make temporary tables
}

// Code is an expression of the table's that INSERT evaluates, with the rights of whoever inserts.
type Code struct {
	What   string // "constraint c"
	Column string // of a column's plain default, which is evaluated only for rows that bring no value
}

// InspectInsertion reads what decides whether rows may be put back into a table, in one statement. types are those, beside the table's
// own, that values take on their way, as PostgreSQL writes them.
func (db *DB) InspectInsertion(ctx context.Context, q Querier, t *Table, types ...string) (*Insertion, error) {
	var i Insertion
	bySchema := "false"
	if db.version >= 150000 {
		bySchema = `EXISTS (SELECT FROM pg_catalog.pg_publication_namespace pn JOIN pg_catalog.pg_class up ON up.relnamespace = pn.pnnspid
		                    WHERE pn.pnpubid = pub.oid AND up.oid IN (SELECT oid FROM upwards))`
	}
	err := q.QueryRow(ctx, strings.NewReplacer("@by_schema@", bySchema, "@cast@", castSQL).Replace(insertionTemplate), int64(t.OID), types).Scan(
		&i.Rules, &i.Triggers, &i.Unlogged, &i.Publications, &i.Code, &i.Insert, &i.Temporary)
	if err != nil {
		return nil, fmt.Errorf("inspect table for inserts: %w", err)
	}
	return &i, nil
}

// insertionTemplate looks at the table $1 and the partitions below it.
const insertionTemplate = `
WITH tree AS MATERIALIZED (
	SELECT c.oid, c.relpersistence, CASE WHEN c.oid = $1::bigint::oid THEN '' ELSE ' (' || n.nspname || '.' || c.relname || ')' END AS suffix
	FROM (SELECT $1::bigint::oid UNION SELECT relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree($1::bigint::oid::pg_catalog.regclass)) AS x(oid)
	JOIN pg_catalog.pg_class c ON c.oid = x.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
), upwards AS MATERIALIZED (
	SELECT oid FROM tree UNION SELECT up.relid::pg_catalog.oid FROM tree, LATERAL pg_catalog.pg_partition_ancestors(tree.oid) AS up(relid)
), types AS MATERIALIZED (
	WITH RECURSIVE t(oid) AS (
		SELECT a.atttypid FROM pg_catalog.pg_attribute a JOIN tree ON tree.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped
		UNION
		SELECT pg_catalog.to_regtype(name)::pg_catalog.oid FROM unnest($2::text[]) AS name
		UNION
		SELECT part.oid FROM t JOIN pg_catalog.pg_type y ON y.oid = t.oid CROSS JOIN LATERAL (
			SELECT y.typbasetype UNION ALL SELECT y.typelem
			UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE y.typrelid <> 0 AND a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = y.oid
			UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = y.oid) AS part(oid)
		WHERE part.oid <> 0
	) SELECT oid FROM t
), code AS MATERIALIZED (
	SELECT 'constraint ' || pg_catalog.quote_ident(k.conname) AS what, '' AS col, k.conbin::text AS expr
	FROM pg_catalog.pg_constraint k JOIN tree ON tree.oid = k.conrelid WHERE k.contype = 'c'
	UNION ALL
	SELECT 'domain ' || pg_catalog.format_type(k.contypid, NULL), '', k.conbin::text FROM pg_catalog.pg_constraint k JOIN types ON types.oid = k.contypid WHERE k.contype = 'c'
	UNION ALL
	SELECT 'index ' || i.indexrelid::pg_catalog.regclass::text, '', pg_catalog.concat(i.indexprs::text, ' ', i.indpred::text)
	FROM pg_catalog.pg_index i JOIN tree ON tree.oid = i.indrelid WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
	UNION ALL
	SELECT CASE WHEN a.attgenerated = '' THEN 'default of column ' ELSE 'generated column ' END || pg_catalog.quote_ident(a.attname),
	       CASE WHEN a.attgenerated = '' THEN a.attname::text ELSE '' END, d.adbin::text
	FROM pg_catalog.pg_attrdef d JOIN tree ON tree.oid = d.adrelid JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
	WHERE a.attgenerated <> '' OR d.adrelid = $1::bigint::oid -- a partition's own defaults do not count for rows that come through the root
	UNION ALL
	SELECT 'default of domain ' || pg_catalog.format_type(y.oid, NULL), a.attname::text, y.typdefaultbin::text
	FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
	WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT a.atthasdef AND y.typdefaultbin IS NOT NULL
	UNION ALL
	SELECT 'partition key of ' || p.partrelid::pg_catalog.regclass::text, '', p.partexprs::text
	FROM pg_catalog.pg_partitioned_table p JOIN tree ON tree.oid = p.partrelid WHERE p.partexprs IS NOT NULL
	UNION ALL
	SELECT 'type ' || pg_catalog.format_type(r.rngtypid, NULL), '', pg_catalog.concat(' :funcid ', r.rngsubdiff::pg_catalog.oid, ' :funcid ', r.rngcanonical::pg_catalog.oid)
	FROM pg_catalog.pg_range r JOIN types ON types.oid = r.rngtypid
), called AS (
	SELECT code.what, code.col, f.oid, NULL::pg_catalog.oid AS opno FROM code,
	       LATERAL (SELECT m[1]::pg_catalog.oid AS oid FROM pg_catalog.regexp_matches(code.expr, ':(?:funcid|opfuncid|hashfuncid|negfuncid) (\d+)', 'g') AS m) AS f WHERE f.oid <> 0
	UNION ALL
	SELECT code.what, code.col, o.oprcode::pg_catalog.oid, o.oid FROM code,
	       LATERAL (SELECT m[1]::pg_catalog.oid AS oid FROM pg_catalog.regexp_matches(code.expr, ':opno (\d+)', 'g') AS m) AS n JOIN pg_catalog.pg_operator o ON o.oid = n.oid
), foreign_code AS (
	-- Only functions that a superuser has made, and that read nothing but their arguments, are sure to do no harm.
	SELECT called.what, called.col FROM called LEFT JOIN pg_catalog.pg_proc p ON p.oid = called.oid LEFT JOIN pg_catalog.pg_language l ON l.oid = p.prolang
	WHERE p.oid IS NULL OR NOT (p.provolatile = 'i' AND (p.oid < 16384 OR l.lanname IN ('internal', 'c'))
	   -- of PostgreSQL's others: operators and casts, that depend on settings; and some by name. Many of the rest run SQL or read the catalogs.
	   OR p.oid < 16384 AND p.provolatile = 's' AND (EXISTS (SELECT FROM pg_catalog.pg_operator o WHERE o.oid < 16384 AND o.oprcode = p.oid)
	                                              OR EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.oid < 16384 AND c.castfunc = p.oid))
	   OR p.oid < 16384 AND p.proname IN ('nextval', 'now', 'transaction_timestamp', 'statement_timestamp', 'clock_timestamp', 'timeofday',
	                                     'gen_random_uuid', 'uuidv4', 'uuidv7', 'random', 'date_trunc', 'date_part', 'extract', 'date_bin', 'age', 'timezone',
	                                     'to_char', 'to_date', 'to_timestamp', 'make_timestamptz', 'concat', 'concat_ws', 'format'))
	UNION
	SELECT what, col FROM code WHERE expr LIKE '%{COERCETODOMAIN %'
	   OR expr LIKE '%{COERCEVIAIO %' AND EXISTS (SELECT FROM pg_catalog.regexp_matches(expr, ':resulttype (\d+)', 'g') AS m WHERE m[1]::pg_catalog.oid >= 16384)
	UNION
	-- Functions in SQL over any type cast it to text, and a user may have made that cast.
	SELECT called.what, called.col FROM called JOIN pg_catalog.pg_proc p ON p.oid = called.oid JOIN pg_catalog.pg_language l ON l.oid = p.prolang JOIN code USING (what, col)
	WHERE l.lanname = 'sql' AND (2283 = ANY (p.proargtypes) OR 2776 = ANY (p.proargtypes))
	  AND EXISTS (SELECT FROM pg_catalog.regexp_matches(code.expr, ':\w*type\w* (\d+)', 'g') AS m WHERE m[1]::pg_catalog.oid >= 16384)
	UNION
	-- Functions in C that make a composite or a domain, as populate_record of hstore does, read it from text, and its domains have a say.
	SELECT code.what, code.col FROM code, LATERAL pg_catalog.regexp_matches(code.expr, ':(?:funcresulttype|opresulttype) (\d+)', 'g') AS m
	JOIN pg_catalog.pg_type y ON y.oid = m[1]::pg_catalog.oid WHERE y.oid >= 16384 AND y.typtype IN ('c', 'd')
	UNION
	-- What is not known calls who knows what: JSON constructors, for one, call users' casts to json.
	SELECT code.what, code.col FROM code, LATERAL pg_catalog.regexp_matches(code.expr, '\{([A-Z_]+)', 'g') AS m
	WHERE m[1] NOT IN ('VAR', 'CONST', 'FUNCEXPR', 'NAMEDARGEXPR', 'OPEXPR', 'DISTINCTEXPR', 'NULLIFEXPR', 'SCALARARRAYOPEXPR', 'BOOLEXPR', 'NULLTEST', 'BOOLEANTEST',
	                   'RELABELTYPE', 'COERCEVIAIO', 'ARRAYCOERCEEXPR', 'CONVERTROWTYPEEXPR', 'COLLATEEXPR', 'COLLATE', 'CASEEXPR', 'CASE', 'CASEWHEN', 'WHEN', 'CASETESTEXPR',
	                   'ARRAYEXPR', 'ARRAY', 'ROWEXPR', 'ROW', 'ROWCOMPAREEXPR', 'ROWCOMPARE', 'COALESCEEXPR', 'COALESCE', 'MINMAXEXPR', 'MINMAX', 'SQLVALUEFUNCTION',
	                   'FIELDSELECT', 'SUBSCRIPTINGREF', 'COERCETODOMAINVALUE', 'NEXTVALUEEXPR', 'XMLEXPR')
	UNION
	SELECT 'foreign key ' || pg_catalog.quote_ident(k.conname), '' FROM pg_catalog.pg_constraint k JOIN tree ON tree.oid = k.conrelid
	CROSS JOIN LATERAL unnest(k.conkey, k.conpfeqop) AS u(fk, op)
	JOIN pg_catalog.pg_attribute fa ON fa.attrelid = k.conrelid AND fa.attnum = u.fk JOIN pg_catalog.pg_operator op ON op.oid = u.op
	WHERE k.contype = 'f' AND @cast@
)
SELECT
	(SELECT pg_catalog.json_agg(r.rulename || tree.suffix ORDER BY 1) FROM pg_catalog.pg_rewrite r JOIN tree ON tree.oid = r.ev_class WHERE r.ev_type = '3'),
	(SELECT pg_catalog.json_agg(g.tgname || tree.suffix ORDER BY 1)
	 FROM pg_catalog.pg_trigger g JOIN tree ON tree.oid = g.tgrelid JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid
	 WHERE g.tgtype & 4 <> 0 AND g.tgenabled IN ('O', 'A')
	   -- before version 15, a partition's copy of its parent's trigger counts as internal; in any version the parent's says it all
	   AND NOT g.tgisinternal AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger up JOIN tree AS above ON above.oid = up.tgrelid WHERE up.oid = g.tgparentid)),
	(SELECT pg_catalog.json_agg(c.oid::pg_catalog.regclass::text ORDER BY 1) FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid WHERE tree.relpersistence = 'u'),
	(SELECT pg_catalog.json_agg(pub.pubname ORDER BY pub.pubname) FROM pg_catalog.pg_publication pub
	 WHERE pub.pubinsert AND EXISTS (SELECT FROM tree WHERE relpersistence = 'p') AND (pub.puballtables
	   OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel pr WHERE pr.prpubid = pub.oid AND pr.prrelid IN (SELECT oid FROM upwards))
	   OR @by_schema@)),
	(SELECT pg_catalog.json_agg(pg_catalog.json_build_object('What', what, 'Column', col) ORDER BY what) FROM foreign_code),
	pg_catalog.has_table_privilege($1::bigint::oid, 'INSERT'),
	pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY')`

// InsertionOptions are the options of a restore by which a user takes a consequence upon himself, and what it needs.
type InsertionOptions struct {
	FireTriggers bool     // triggers = fire
	Replicate    bool     // replicate = true
	Staging      bool     // rows go through a temporary table
	Defaults     []string // columns that rows bring no value for, so far as that is known
}

// InsertionRefusals returns every reason not to put rows back into a table, the gravest first.
func (t *Table) InsertionRefusals(i *Insertion, opt InsertionOptions) []Refusal {
	if r, bad := t.refuseKind(); bad {
		r.Hint = "Rows go back only into permanent application tables, and into none that an extension keeps."
		return []Refusal{r}
	}
	var out []Refusal
	for _, name := range i.Unlogged {
		out = append(out, Refusal{wrongState, fmt.Sprintf("%s is unlogged: a crash would lose rows that are safe in their files", name),
			fmt.Sprintf("ALTER TABLE %s SET LOGGED first.", name)})
	}
	out = append(out, t.refuseInsertRights(i, opt)...)
	for _, rule := range i.Rules {
		out = append(out, Refusal{wrongState, fmt.Sprintf("its rule %q rewrites INSERT", rule), "Drop the rule, or use a trigger instead."})
	}
	for _, g := range i.Triggers {
		if !opt.FireTriggers {
			out = append(out, Refusal{wrongState, fmt.Sprintf("its trigger %q would run for every row that comes back", g),
				"WITH (triggers = fire) lets INSERT triggers run, with the rights of the worker's role; or disable the trigger."})
		}
	}
	for _, c := range i.Code {
		if !opt.FireTriggers && (c.Column == "" || slices.Contains(opt.Defaults, c.Column)) {
			out = append(out, Refusal{wrongState, fmt.Sprintf("its %s calls functions that would run with the rights of the worker's role", c.What),
				"WITH (triggers = fire) lets the table's own code run, with the rights of the worker's role; it takes an operator or a superuser."})
		}
	}
	if len(i.Publications) > 0 && !opt.Replicate {
		out = append(out, Refusal{wrongState, fmt.Sprintf("publication %s would insert the rows at its subscribers too", strings.Join(i.Publications, ", ")),
			"WITH (replicate = true) accepts that; or take the table or inserts out of the publication."})
	}
	return out
}

// refuseInsertRights says what this role may not do.
func (t *Table) refuseInsertRights(i *Insertion, opt InsertionOptions) []Refusal {
	grants := fmt.Sprintf("Let the owner run the script that `spillway grants --restore --for %s.%s` prints.", t.Schema, t.Name)
	var out []Refusal
	if !t.Privileges.Usage {
		out = append(out, Refusal{noPrivilege, fmt.Sprintf("permission denied for schema %q: the worker's role lacks USAGE", t.Schema), grants})
	}
	var missing []string
	if !i.Insert {
		missing = append(missing, "INSERT")
	}
	if opt.Staging && !t.Privileges.Select {
		missing = append(missing, "SELECT")
	}
	if len(missing) > 0 {
		out = append(out, Refusal{noPrivilege, "permission denied: the worker's role lacks " + strings.Join(missing, ", "), grants})
	}
	if opt.Staging && !i.Temporary {
		out = append(out, Refusal{noPrivilege, "permission denied: the worker's role may not make temporary tables in this database", grants})
	}
	if t.RLS {
		out = append(out, Refusal{noPrivilege, "its row security applies to the worker's role",
			"Let the worker's role own the table (without FORCE ROW LEVEL SECURITY) or have BYPASSRLS."})
	}
	return out
}
