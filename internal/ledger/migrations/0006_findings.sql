-- What VERIFY and CLEANUP found, and where an attempt ran: a clone of the database has the attempts of the original, which may
-- have committed there.

CREATE TABLE @schema@.findings (
    job_id       text NOT NULL,
    digest       text NOT NULL, -- sha-256 of location; a long address does not fit into an index
    location     text NOT NULL,
    table_schema text NOT NULL DEFAULT '',
    table_name   text NOT NULL DEFAULT '',
    storage      text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('damaged', 'missing', 'stray', 'leftover')),
    action       text NOT NULL CHECK (action IN ('reported', 'would_delete', 'deleted', 'kept')),
    segment_id   uuid,
    attempt_id   uuid,
    bytes        bigint,
    problem      text NOT NULL,
    found_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, digest)
);
COMMENT ON TABLE @schema@.findings IS 'Objects that are not as the ledger says, by the job that looked, and what it did about them.';

ALTER TABLE @schema@.attempts ADD COLUMN origin text NOT NULL DEFAULT '';
COMMENT ON COLUMN @schema@.attempts.origin IS 'The database that made it, as <system identifier>/<oid>/<timeline>. Objects of another one''s attempts are left alone.';
