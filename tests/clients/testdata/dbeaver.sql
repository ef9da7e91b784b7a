SET extra_float_digits = 3;
SET application_name = 'DBeaver 25.1.5 - Main <postgres>';
SELECT current_schema(), session_user;
SHOW search_path;
SELECT version();
SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate AND datname = current_database();
SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = n.oid AND d.objsubid = 0 AND d.classoid = 'pg_namespace'::regclass
  WHERE nspname NOT LIKE 'pg_temp%' AND nspname NOT LIKE 'pg_toast_temp%' ORDER BY nspname;
SELECT n.nspname = ANY (current_schemas(true)), n.nspname, t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = 1034;
SELECT typinput = 'pg_catalog.array_in'::regproc AS is_array, typtype, typname, pg_type.oid FROM pg_catalog.pg_type WHERE typname = 'aclitem' ORDER BY pg_type.oid DESC;
SELECT * FROM pg_catalog.pg_settings WHERE name = 'standard_conforming_strings';
SELECT string_agg(word, ',' ORDER BY word) FROM pg_catalog.pg_get_keywords() WHERE word <> ALL ('{a,abs,absolute,action,add,all,alter,and,any,are,array,as}'::text[]);
SELECT * FROM pg_catalog.pg_enum WHERE 1 <> 1 LIMIT 1;
SELECT reltype FROM pg_catalog.pg_class WHERE 1 <> 1 LIMIT 1;
SELECT t.oid, t.typname, t.typtype, t.typelem, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base_type_name, d.description
  FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid = t.typelem LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
  LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid = d.objoid
  WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C') ORDER BY t.oid;
SELECT c.oid, c.relname, c.relkind, c.relowner, d.description FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d
  ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass WHERE c.relnamespace = 'app'::regnamespace AND c.relkind NOT IN ('i', 'I', 'c') ORDER BY 2;
SELECT a.attname, a.attnum, a.atttypid, a.atttypmod, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value FROM pg_catalog.pg_attribute a
  LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum WHERE a.attrelid = 'app.metrics'::regclass AND NOT a.attisdropped ORDER BY a.attnum;
SELECT c.oid, c.*, t.relname AS tabrelname FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class t ON t.oid = c.conrelid WHERE c.conrelid = 'app.metrics'::regclass;
SELECT i.*, pg_catalog.pg_get_indexdef(i.indexrelid) FROM pg_catalog.pg_index i WHERE i.indrelid = 'app.metrics'::regclass;
SELECT x.*, x.ctid FROM app.metrics x LIMIT 200;
SELECT count(*) FROM app.metrics;
SELECT * FROM pg_catalog.pg_settinngs -- fails
;
