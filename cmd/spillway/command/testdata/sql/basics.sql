-- What a script may hold; each line of output is compared.
SELECT 1 AS one, NULL AS nothing, 'a;b' AS text; SELECT $$ dollar; quoted $$ AS d;
CREATE TABLE app.t (id int, note text); /* a comment; /* nested; */ */
COPY app.t FROM STDIN;
1	one;
2	\N
3	three\nlines
\.
SELECT * FROM app.t
ORDER BY id;
\pset null (null)
\x on
SELECT * FROM app.t WHERE id = 2;
\x auto
SELECT id FROM app.t WHERE id = 1 \gx
SELECT id FROM app.t WHERE id = 3 \g
\g
SELECT 'again' AS a \watch i=0 c=2
\echo 'it''s' quoted   and  not
COPY app.t TO STDOUT WITH (FORMAT csv);
DO $$ BEGIN RAISE NOTICE 'to standard error; %', 1; END $$;
\pset format csv
SELECT * FROM app.t ORDER BY id;
\pset format json
SELECT * FROM app.t ORDER BY id LIMIT 1;
\pset format table
CREATE FUNCTION app.f() RETURNS int LANGUAGE sql
BEGIN ATOMIC
    SELECT 1;
    SELECT 2;
END;
SELECT app.f() \r
SELECT E'it\'s; \\' AS "quoted;name" \x \\ ;
SELECT 日本 FROM (VALUES ('東京'), ('x')) AS v(日本)
