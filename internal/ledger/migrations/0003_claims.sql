-- Which manager's job holds a table. A job without a life of its own outside a process (local) says so here, and its process
-- holds an advisory lock for as long as it lives; created_at and request_id let somebody else record its end.

ALTER TABLE @schema@.claims
    ADD COLUMN manager    text NOT NULL DEFAULT 'temporal',
    ADD COLUMN request_id uuid;
COMMENT ON COLUMN @schema@.claims.manager IS 'temporal, or local: a job that ends with its process, which holds an advisory lock while it lives.';
