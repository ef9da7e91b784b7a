-- What is done at set times. Temporal holds the timing of each, and starts a run; what a run does stands here, for it may hold
-- literals of predicates.
CREATE TABLE @schema@.schedules (
    name             text PRIMARY KEY,
    schedule_id      uuid NOT NULL UNIQUE,
    temporal_id      text NOT NULL,
    statement        text NOT NULL,
    job_statement    text NOT NULL,
    job_type         text NOT NULL,
    scope            text NOT NULL CHECK (scope IN ('table', 'namespace', 'all')),
    table_schema     text NOT NULL DEFAULT '',
    table_name       text NOT NULL DEFAULT '',
    params           jsonb NOT NULL DEFAULT '{}',
    every            text NOT NULL DEFAULT '',
    every_seconds    bigint NOT NULL DEFAULT 0,
    cron             text NOT NULL DEFAULT '',
    time_zone        text NOT NULL DEFAULT '',
    jitter_seconds   bigint NOT NULL DEFAULT 0,
    catchup_seconds  bigint NOT NULL,
    overlap          text NOT NULL CHECK (overlap IN ('skip', 'buffer_one', 'allow')),
    pause_on_failure boolean NOT NULL DEFAULT false,
    state            text NOT NULL DEFAULT 'creating' CHECK (state IN ('creating', 'ready', 'dropping')),
    created_by       text NOT NULL,
    run_as           text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused_at        timestamptz,
    paused_by        text,
    runs             bigint NOT NULL DEFAULT 0,
    last_run_at      timestamptz,
    last_ended_at    timestamptz,
    last_status      text,
    last_job_id      text,
    last_error       text,
    CHECK ((every_seconds > 0) <> (cron <> ''))
);
COMMENT ON TABLE @schema@.schedules IS 'What is done at set times. When, Temporal says; these are a copy, by which lost schedules are made anew.';
COMMENT ON COLUMN @schema@.schedules.schedule_id IS 'Tells a schedule from an earlier one of the same name.';
COMMENT ON COLUMN @schema@.schedules.temporal_id IS 'Its id in Temporal.';
COMMENT ON COLUMN @schema@.schedules.job_statement IS 'The statement that it runs, without the timing.';
COMMENT ON COLUMN @schema@.schedules.run_as IS 'The role whose rights its runs need; created_by is who had logged in.';
COMMENT ON COLUMN @schema@.schedules.state IS 'creating and dropping: Temporal may not know it yet, or still.';
COMMENT ON COLUMN @schema@.schedules.changed_at IS 'When a statement last created, paused or resumed it.';
