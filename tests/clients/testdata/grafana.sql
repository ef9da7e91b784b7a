SELECT 1;
SELECT current_setting('server_version_num')::int / 100 AS version;
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb';
SELECT CASE WHEN quote_ident(table_schema) IN (SELECT trim(p) FROM unnest(string_to_array(current_setting('search_path'), ',')) p)
  THEN quote_ident(table_name) ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS "table"
  FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog') ORDER BY 1;
SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns
  WHERE table_schema = 'app' AND table_name = 'metrics' ORDER BY ordinal_position;
SELECT t.table_name, (SELECT column_name FROM information_schema.columns c WHERE c.table_name = t.table_name AND udt_name IN ('timestamptz', 'timestamp') LIMIT 1) AS at
  FROM information_schema.tables t WHERE t.table_schema = 'app';
SELECT extract(epoch FROM at) AS "time", host AS metric, value FROM app.metrics WHERE at BETWEEN '2025-12-31T00:00:00Z' AND '2026-01-02T00:00:00Z' ORDER BY 1, 2;
SELECT floor(extract(epoch FROM at) / 60) * 60 AS "time", avg(value) AS value FROM app.metrics WHERE extract(epoch FROM at) >= 1767000000 GROUP BY 1 ORDER BY 1;
SELECT DISTINCT host AS __text, host AS __value FROM app.metrics;
SELECT to_char(at, 'YYYY-MM-DD') AS day, percentile_cont(0.95) WITHIN GROUP (ORDER BY value) FROM app.metrics GROUP BY 1;
SELECT nonsense FROM app.metrics -- fails
;
