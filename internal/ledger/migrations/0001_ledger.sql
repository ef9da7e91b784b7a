-- The ledger, version 1. "@schema@" is the ledger's schema, spillway unless configured otherwise.

CREATE TABLE @schema@.installation (
    singleton       boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    installation_id uuid NOT NULL DEFAULT gen_random_uuid(),
    name            text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE @schema@.installation IS 'One row: this installation. Its id marks the storages it owns.';

CREATE TABLE @schema@.storages (
    name       text PRIMARY KEY,
    location   text NOT NULL,
    options    jsonb NOT NULL DEFAULT '{}',
    is_default boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX storages_one_default ON @schema@.storages (is_default) WHERE is_default;
COMMENT ON TABLE @schema@.storages IS 'Named places for segments: a directory, or a bucket with a prefix.';

CREATE TABLE @schema@.tables (
    table_schema  text NOT NULL,
    table_name    text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    policy        jsonb,
    last_flush_at timestamptz,
    last_job_id   text,
    PRIMARY KEY (table_schema, table_name)
);
COMMENT ON TABLE @schema@.tables IS 'Registered tables: those with a policy, and those flushed before.';

CREATE TABLE @schema@.schema_versions (
    table_schema text NOT NULL,
    table_name   text NOT NULL,
    version      integer NOT NULL,
    columns      jsonb NOT NULL,
    digest       text NOT NULL, -- sha-256 of columns::text; the columns of a wide table do not fit into an index
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_schema, table_name, version),
    UNIQUE (table_schema, table_name, digest)
);
COMMENT ON TABLE @schema@.schema_versions IS 'Every list of columns under which rows of a table went cold.';

CREATE TABLE @schema@.requests (
    request_id   uuid PRIMARY KEY,
    job_type     text NOT NULL,
    table_schema text NOT NULL,
    table_name   text NOT NULL,
    params       jsonb NOT NULL DEFAULT '{}',
    statement    text NOT NULL DEFAULT '',
    requested_by text NOT NULL DEFAULT '',
    trigger      text NOT NULL DEFAULT 'command',
    schedule     text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE @schema@.requests IS 'What users asked for, literals of predicates included, which never enter workflow history.';

CREATE TABLE @schema@.claims (
    table_schema text NOT NULL,
    table_name   text NOT NULL,
    job_id       text NOT NULL,
    claimed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_schema, table_name)
);
COMMENT ON TABLE @schema@.claims IS 'The one job that changes a table now.';

CREATE TABLE @schema@.plans (
    job_id        text NOT NULL,
    generation    integer NOT NULL,
    request_id    uuid NOT NULL,
    first_chunk   integer NOT NULL,
    chunks        integer NOT NULL,
    rows_estimate bigint NOT NULL,
    plan          jsonb NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, generation)
);
COMMENT ON TABLE @schema@.plans IS 'How jobs cut their tables. A table that changed its shape or file is planned again: the next generation.';

CREATE TABLE @schema@.attempts (
    attempt_id    uuid PRIMARY KEY,
    job_id        text NOT NULL,
    chunk         integer NOT NULL,
    storage       text NOT NULL,
    object_prefix text NOT NULL,
    backend_pid   integer NOT NULL,
    backend_start timestamptz NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    condemned_at  timestamptz,
    swept_at      timestamptz
);
CREATE INDEX attempts_by_chunk ON @schema@.attempts (job_id, chunk);
CREATE INDEX attempts_condemned ON @schema@.attempts (condemned_at) WHERE condemned_at IS NOT NULL;
COMMENT ON TABLE @schema@.attempts IS 'Attempts that have not committed. The transaction that moves rows deletes its own row first: that row lock is its mutex.';

CREATE TABLE @schema@.chunks (
    job_id       text NOT NULL,
    chunk        integer NOT NULL,
    attempt_id   uuid NOT NULL UNIQUE,
    row_count    bigint NOT NULL DEFAULT 0,
    bytes        bigint NOT NULL DEFAULT 0,
    rows_skipped_locked bigint NOT NULL DEFAULT 0,
    attempt      integer NOT NULL DEFAULT 1,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, chunk)
);
COMMENT ON TABLE @schema@.chunks IS 'Committed chunks, empty ones too. The primary key is the fence: a chunk is moved once.';

CREATE TABLE @schema@.segments (
    segment_id       uuid PRIMARY KEY,
    job_id           text NOT NULL,
    chunk            integer NOT NULL,
    attempt          uuid NOT NULL,
    table_schema     text NOT NULL,
    table_name       text NOT NULL,
    leaf             text NOT NULL,
    storage          text NOT NULL,
    location         text NOT NULL UNIQUE,
    row_count        bigint NOT NULL CHECK (row_count > 0),
    bytes            bigint NOT NULL CHECK (bytes > 0),
    sha256           text NOT NULL,
    schema_version   integer NOT NULL,
    partition_values jsonb NOT NULL DEFAULT '{}',
    column_stats     jsonb NOT NULL DEFAULT '{}',
    pg_types         jsonb NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT now(),
    restored_at      timestamptz,
    restored_by      text,
    replaced_at      timestamptz,
    replaced_by      uuid
);
CREATE INDEX segments_of_table ON @schema@.segments (table_schema, table_name) WHERE restored_at IS NULL AND replaced_at IS NULL;
CREATE INDEX segments_of_job ON @schema@.segments (job_id, chunk);
COMMENT ON TABLE @schema@.segments IS 'Every segment. One whose restored_at or replaced_at is set is history and no longer counts as cold.';

CREATE TABLE @schema@.failures (
    failure_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id     text NOT NULL,
    chunk      integer,
    attempt    integer NOT NULL DEFAULT 1,
    class      text NOT NULL,
    sqlstate   text NOT NULL DEFAULT '',
    message    text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX failures_of_job ON @schema@.failures (job_id, failure_id);
COMMENT ON TABLE @schema@.failures IS 'Full texts of errors, which never enter workflow history.';

CREATE TABLE @schema@.job_history (
    job_id        text PRIMARY KEY,
    job_type      text NOT NULL,
    table_schema  text NOT NULL,
    table_name    text NOT NULL,
    status        text NOT NULL CHECK (status IN ('completed', 'failed', 'cancelled')),
    rows_total    bigint,
    rows_flushed  bigint NOT NULL DEFAULT 0,
    bytes_written bigint NOT NULL DEFAULT 0,
    segments      bigint NOT NULL DEFAULT 0,
    chunks_done   bigint NOT NULL DEFAULT 0,
    chunks_total  bigint,
    rows_left     bigint,
    rows_skipped_locked bigint NOT NULL DEFAULT 0,
    attempt       integer NOT NULL DEFAULT 1,
    error         text,
    error_class   text,
    location      text,
    requested_by  text NOT NULL DEFAULT '',
    trigger       text NOT NULL DEFAULT 'command',
    schedule      text NOT NULL DEFAULT '',
    statement     text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL,
    started_at    timestamptz,
    finished_at   timestamptz NOT NULL DEFAULT now(),
    cancelled_at  timestamptz,
    workflow_id   text NOT NULL DEFAULT '',
    run_id        text NOT NULL DEFAULT ''
);
CREATE INDEX job_history_by_time ON @schema@.job_history (created_at DESC, job_id);
CREATE INDEX job_history_by_table ON @schema@.job_history (table_schema, table_name, created_at DESC);
COMMENT ON TABLE @schema@.job_history IS 'One row per ended job, written once.';

CREATE TABLE @schema@.audit (
    audit_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    user_name text NOT NULL,
    statement text NOT NULL,
    job_id    text,
    outcome   text NOT NULL
);
COMMENT ON TABLE @schema@.audit IS 'Who asked for what: every statement that starts, stops or changes jobs.';
