package hot

import "strings"

// Which relations a statement is about: one by schema and name, or any number by their oids.
const (
	whichName = "n.nspname = $1 AND c.relname = $2"
	whichOIDs = "c.oid = ANY ($1::bigint[]::oid[])"
)

// inspectSQL is one statement over the catalogs, for however many relations. Lists come as JSON whose keys are the fields of
// the Go types; null is an empty list. What few relations have is found by a set that is read once, and not by a look for each:
// pg_constraint has no index by the table that is referred to.
func (db *DB) inspectSQL(which string) string {
	bySchema := "false"
	if db.version >= 150000 {
		bySchema = `EXISTS (SELECT FROM pg_catalog.pg_publication_namespace pn JOIN pg_catalog.pg_class up ON up.relnamespace = pn.pnnspid
		                    WHERE pn.pnpubid = pub.oid AND up.oid = ANY (t.upwards))`
	}
	mayVacuum := `(pg_catalog.pg_has_role(t.relowner, 'USAGE') OR EXISTS (
		SELECT FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database() AND pg_catalog.pg_has_role(d.datdba, 'USAGE')))`
	if db.version >= 170000 {
		mayVacuum = `(` + mayVacuum + ` OR pg_catalog.has_table_privilege(t.oid, 'MAINTAIN'))`
	}
	published := `pub.puballtables
	   OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel pr WHERE pr.prpubid = pub.oid AND pr.prrelid = ANY (t.upwards))
	   OR ` + bySchema
	whole := strings.ReplaceAll(wholeSQL, "@published@", published)
	return strings.NewReplacer("@may_vacuum@", mayVacuum, "@whole@", whole, "@which@", which, "@published@", published, "@expressions@", expressionsSQL, "@cast@", castSQL).Replace(inspectTemplate)
}

const inspectTemplate = `
WITH t AS MATERIALIZED (
	SELECT c.*, n.nspname, coalesce(am.amname::text, '') AS amname,
	       ARRAY(SELECT c.oid UNION SELECT relid::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors(c.oid)) AS upwards
	FROM pg_catalog.pg_class c
	JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
	WHERE @which@
), heirs AS MATERIALIZED (
	WITH RECURSIVE h(root, oid) AS (
		SELECT t.oid, t.oid FROM t WHERE t.relkind IN ('r', 'p') AND t.relhassubclass
		UNION
		SELECT h.root, i.inhrelid FROM h JOIN pg_catalog.pg_inherits i ON i.inhparent = h.oid
	)
	SELECT h.root, c.oid, n.nspname, c.relname, c.relkind FROM h JOIN pg_catalog.pg_class c ON c.oid = h.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
), roots AS (
	SELECT h.root, pg_catalog.count(*) > 1 AS many, pg_catalog.bool_or(h.nspname LIKE '\_timescaledb%') AS timescale,
	       pg_catalog.json_agg(pg_catalog.json_build_object('OID', h.oid::bigint, 'Schema', h.nspname, 'Name', h.relname, 'RelKind', h.relkind::text)
	                           ORDER BY h.nspname, h.relname) FILTER (WHERE h.relkind <> 'p') AS leaves
	FROM heirs h GROUP BY h.root
)
SELECT t.nspname, t.relname, t.oid, coalesce(pg_catalog.pg_relation_filenode(t.oid), 0)::oid, t.relkind::text, t.relpersistence::text, t.amname,
	b.size, CASE WHEN t.relkind = 'r' THEN coalesce(pg_catalog.pg_relation_size(t.oid), 0) / b.size ELSE 0 END,
	t.reltuples::float8, t.relpages::bigint, t.relispartition,
	t.relkind IN ('r', 'p') AND pg_catalog.row_security_active(t.oid),
	CASE t.relreplident
		WHEN 'f' THEN true
		WHEN 'd' THEN EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = t.oid AND i.indisprimary AND i.indimmediate AND i.indisvalid)
		WHEN 'i' THEN EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = t.oid AND i.indisreplident AND i.indimmediate AND i.indisvalid)
		ELSE false END,
	pg_catalog.json_build_object(
		'Usage', pg_catalog.has_schema_privilege(t.relnamespace, 'USAGE'),
		'Select', pg_catalog.has_table_privilege(t.oid, 'SELECT'),
		'Delete', pg_catalog.has_table_privilege(t.oid, 'DELETE'),
		'Update', pg_catalog.has_any_column_privilege(t.oid, 'UPDATE')),
	(SELECT pg_catalog.json_agg(a.attname ORDER BY k.n)
	 FROM pg_catalog.pg_index i, LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n), pg_catalog.pg_attribute a
	 WHERE i.indrelid = t.oid AND i.indisprimary AND a.attrelid = t.oid AND a.attnum = k.attnum AND k.n <= i.indnkeyatts),
	(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
		'Number', a.attnum, 'Name', a.attname, 'TypeOID', a.atttypid::bigint, 'BaseOID', y.oid::bigint, 'TypMod', base.typmod,
		'TypeName', y.typname, 'TypeSchema', yn.nspname, 'TypeKind', pg_catalog.ascii(y.typtype::text),
		'Declared', pg_catalog.format_type(y.oid, base.typmod),
		'Domain', CASE WHEN base.depth > 0 THEN pg_catalog.format_type(a.atttypid, NULL) ELSE '' END,
		'Collation', coalesce((SELECT pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname)
		                       FROM pg_catalog.pg_collation co JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
		                       WHERE co.oid = a.attcollation AND a.attcollation <> y.typcollation), ''),
		'NotNull', a.attnotnull, 'HasElem', y.typelem <> 0 AND y.typlen = -1,
		'Generated', a.attgenerated::text, 'Identity', a.attidentity::text) ORDER BY a.attnum)
	 FROM pg_catalog.pg_attribute a
	 CROSS JOIN LATERAL (
		WITH RECURSIVE d(oid, typmod, depth) AS (
			SELECT a.atttypid, a.atttypmod, 0
			UNION ALL
			SELECT dt.typbasetype, dt.typtypmod, d.depth + 1 FROM d JOIN pg_catalog.pg_type dt ON dt.oid = d.oid WHERE dt.typtype = 'd'
		) SELECT oid, typmod, depth FROM d ORDER BY depth DESC LIMIT 1) AS base
	 JOIN pg_catalog.pg_type y ON y.oid = base.oid
	 JOIN pg_catalog.pg_namespace yn ON yn.oid = y.typnamespace
	 WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped),
	CASE WHEN roots.many OR t.relkind = 'p' THEN roots.leaves END,
	(SELECT pg_catalog.json_agg(r.rulename ORDER BY r.rulename) FROM pg_catalog.pg_rewrite r WHERE r.ev_class = t.oid AND r.ev_type = '4'),
	(SELECT pg_catalog.json_agg(pg_catalog.json_build_object('OID', g.oid::bigint, 'Name', g.tgname, 'Function', g.tgfoid::pg_catalog.regproc::text,
		'Statement', g.tgtype & 1 = 0, 'Before', g.tgtype & 2 <> 0) ORDER BY g.tgname)
	 FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid
	 WHERE g.tgrelid = t.oid AND g.tgtype & 8 <> 0 AND g.tgenabled IN ('O', 'A')
	   -- before version 15, a partition's copy of its parent's trigger counts as internal
	   AND (NOT g.tgisinternal OR g.tgparentid <> 0 AND NOT (p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.proname LIKE 'RI\_FKey\_%'))),
	CASE WHEN t.oid IN (SELECT f.confrelid FROM pg_catalog.pg_constraint f WHERE f.contype = 'f') THEN
	(SELECT pg_catalog.json_agg(pg_catalog.json_build_object('OID', k.oid::bigint, 'Name', k.conname, 'Schema', rn.nspname, 'Table', rc.relname,
		'OnDelete', k.confdeltype::text, 'From', cols.f, 'To', cols.t, 'Operators', cols.o, 'Cast', cols.c,
		'Readable', pg_catalog.has_schema_privilege(rn.oid, 'USAGE') AND pg_catalog.has_table_privilege(rc.oid, 'SELECT') AND NOT pg_catalog.row_security_active(rc.oid)) ORDER BY k.oid)
	 FROM pg_catalog.pg_constraint k
	 JOIN pg_catalog.pg_class rc ON rc.oid = k.conrelid
	 JOIN pg_catalog.pg_namespace rn ON rn.oid = rc.relnamespace
	 CROSS JOIN LATERAL (
		SELECT pg_catalog.json_agg(fa.attname ORDER BY u.n) AS f, pg_catalog.json_agg(ta.attname ORDER BY u.n) AS t,
		       -- a key with a PERIOD, of version 18 on, refers to each row whose period meets its own
		       pg_catalog.json_agg(CASE WHEN u.n = pg_catalog.cardinality(k.conkey) AND pg_catalog.to_jsonb(k) ->> 'conperiod' = 'true' THEN 'OPERATOR(pg_catalog.&&)'
		           ELSE 'OPERATOR(' || pg_catalog.quote_ident(op_n.nspname) || '.' || op.oprname || ')' END ORDER BY u.n) AS o,
		       pg_catalog.bool_or(@cast@) AS c
		FROM unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY AS u(fk, pk, op, n)
		JOIN pg_catalog.pg_attribute fa ON fa.attrelid = k.conrelid AND fa.attnum = u.fk
		JOIN pg_catalog.pg_attribute ta ON ta.attrelid = k.confrelid AND ta.attnum = u.pk
		JOIN pg_catalog.pg_operator op ON op.oid = u.op
		JOIN pg_catalog.pg_namespace op_n ON op_n.oid = op.oprnamespace) AS cols
	 WHERE k.confrelid = t.oid AND k.contype = 'f'
	   AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint up WHERE up.oid = k.conparentid AND up.confrelid = k.confrelid)) END,
	(SELECT pg_catalog.json_agg(pub.pubname ORDER BY pub.pubname) FROM pg_catalog.pg_publication pub
	 WHERE pub.pubdelete AND t.relpersistence = 'p' AND (@published@)),
	CASE WHEN t.nspname LIKE '\_timescaledb%'
	       OR roots.timescale
	       OR EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgrelid = t.oid AND g.tgname = 'ts_insert_blocker') THEN 'timescaledb'
	     WHEN t.amname = 'columnar' THEN 'citus' ELSE '' END,
	pg_catalog.to_regclass('_timescaledb_catalog.hypertable') IS NOT NULL,
	pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL,
	ARRAY(WITH RECURSIVE up(oid) AS (
			SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = t.oid
			UNION
			SELECT i.inhparent FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.oid
		) SELECT oid FROM up ORDER BY oid),
	@may_vacuum@, @whole@, @expressions@
FROM t CROSS JOIN (SELECT pg_catalog.current_setting('block_size')::int AS size) AS b LEFT JOIN roots ON roots.root = t.oid`
