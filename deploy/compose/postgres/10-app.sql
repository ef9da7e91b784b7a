-- Stands for your application: a role, its schema and a table with something to flush. Replace it with yours, then make
-- 20-worker.sql anew:
--   spillway grants --for app.events --reader app --database-url postgres://postgres@127.0.0.1:5432/app
CREATE ROLE app LOGIN;
CREATE SCHEMA app AUTHORIZATION app;
SET ROLE app;
CREATE TABLE app.events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL,
    payload    jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
INSERT INTO app.events (kind, payload, created_at)
SELECT (ARRAY['view', 'click', 'login'])[1 + i % 3], jsonb_build_object('page', '/item/' || i % 1000), now() - i * interval '1 minute'
FROM generate_series(1, 100000) AS i;
RESET ROLE;
