-- The schema of the views. "@schema@" is the ledger's schema and "@system@" this one's name.
--
-- This file is run again whenever its text has changed. It may only replace: views keep their grants and what users built
-- upon them. So columns are added at the end, never renamed or removed, and an addition comes with a migration, which keeps
-- older builds away.
--
-- Readers need USAGE on schema @system@ and SELECT on the views, no more: a view reads the ledger with the rights of its
-- owner, the worker's role.
--
-- How jobs and workers are filled. Jobs that have ended are rows of the ledger. Live ones are known to Temporal alone, and so
-- are workers. So the SQL front-end hands them over in settings that last until the end of the transaction, and runs, as its
-- own statement in the user's transaction right before the user's:
--
--     SELECT set_config('spillway.jobs', $1, true) IS NULL,      -- JSON array with an object per job; its keys are the columns
--            set_config('spillway.jobs_at', extract(epoch FROM statement_timestamp())::text, true) IS NULL,
--            set_config('spillway.ui_prefix', $2, true) IS NULL  -- what stands before a workflow id in an address of the Web UI
--
-- and the same with spillway.workers and spillway.schedules. A list that holds only the jobs which one statement can see is in spillway.jobs_narrowed
-- instead, and that statement's text in spillway.jobs_for. It is given out once, and to nobody else: not to a function that
-- the statement calls either. The views of earlier versions do not know it, and fail. (IS NULL keeps the answer short.) What
-- the front-end could not find out it tells in spillway.jobs_error.
-- These settings outlive the statement that they were made for. An EXECUTE, or a user's view over jobs, later in the same
-- transaction would see old jobs; after the transaction the settings are ''. handed_over() therefore gives a list out only
-- if it is there, at most five seconds old, and to the first statement that reads it: it notes that statement's time in
-- spillway.jobs_read, and a statement with another time gets an error. PostgreSQL gives each Query, Parse, Bind and Execute
-- message a statement_timestamp of its own, so the time of the reader cannot simply be compared with that of the writer.
--
-- The function is volatile on purpose: it is never evaluated while planning, so EXPLAIN and PREPARE do not use the list up.

CREATE OR REPLACE FUNCTION @schema@.handed_over(list text) RETURNS json
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    value  text    := nullif(current_setting('spillway.' || list, true), '');
    put_at text    := nullif(current_setting('spillway.' || list || '_at', true), '');
    used   text    := current_setting('spillway.' || list || '_read', true);
    part   text    := nullif(current_setting('spillway.' || list || '_narrowed', true), '');
    failed text    := nullif(current_setting('spillway.' || list || '_error', true), '');
    what   text    := CASE list WHEN 'jobs' THEN 'running jobs' ELSE list END;
    now_at numeric := extract(epoch FROM statement_timestamp());
BEGIN
    IF failed IS NOT NULL THEN
        RAISE EXCEPTION '%', failed USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    value := coalesce(value, part);
    IF value IS NULL OR put_at IS NULL THEN
        RAISE EXCEPTION 'the list of % is not available on this connection', what
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Connect through the spillway front-end (spillway up or spillway front), and name the view in the statement itself.';
    END IF;
    IF now_at - put_at::numeric NOT BETWEEN 0 AND 5
       OR (split_part(used, ' ', 1) = put_at AND split_part(used, ' ', 2) <> now_at::text) THEN
        RAISE EXCEPTION 'the list of % is out of date', what
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'It was made for an earlier statement of this transaction.',
                  HINT = 'Connect through the spillway front-end, and name the view in the statement itself: not by EXECUTE, search_path or a view of your own.';
    END IF;
    IF value = part AND (split_part(used, ' ', 1) = put_at OR current_query() IS DISTINCT FROM current_setting('spillway.' || list || '_for', true)) THEN
        RAISE EXCEPTION 'the list of % was made for the condition of one statement, and something else reads it too', what
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'A function, an operator or a cast that the statement uses reads the view, or another statement does.',
                  HINT = 'Put the whole condition in parentheses: then the front-end hands the whole list over.';
    END IF;
    PERFORM set_config('spillway.' || list || '_read', put_at || ' ' || now_at::text, true);
    RETURN value::json;
END
$function$;
COMMENT ON FUNCTION @schema@.handed_over(text) IS 'The live jobs, the workers or the schedules that the front-end handed to this very statement, or an error.';
-- Whoever reads a view runs the function with his own rights. It shows him nothing but settings of his own session.
GRANT EXECUTE ON FUNCTION @schema@.handed_over(text) TO PUBLIC;

-- Where a job is both live and recorded, the record is right: it is final. This also leaves the second branch without a
-- condition, so that PostgreSQL takes the newest jobs out of an index instead of sorting all.
CREATE OR REPLACE VIEW @system@.jobs AS
SELECT j.job_id, j.job_type, j.target, j.status, nullif(j.phase, '') AS phase, j.progress,
       j.rows_total, j.rows_flushed, j.bytes_written, j.segments, j.chunks_done, j.chunks_total, j.attempt,
       nullif(j.error, '') AS error, nullif(j.error_class, '') AS error_class, nullif(j.location, '') AS location,
       nullif(j.requested_by, '') AS requested_by, nullif(j.trigger, '') AS trigger, nullif(j.schedule, '') AS schedule, nullif(j.statement, '') AS statement,
       j.created_at, j.started_at, j.finished_at, j.cancelled_at,
       nullif(j.workflow_id, '') AS workflow_id, nullif(j.run_id, '') AS run_id, nullif(j.ui_url, '') AS ui_url,
       j.rows_left, j.rows_skipped_locked
FROM pg_catalog.json_to_recordset(@schema@.handed_over('jobs')) AS j(
       job_id text, job_type text, target text, status text, phase text, progress double precision,
       rows_total bigint, rows_flushed bigint, bytes_written bigint, segments bigint, chunks_done bigint, chunks_total bigint, attempt integer,
       error text, error_class text, location text, requested_by text, trigger text, schedule text, statement text,
       created_at timestamptz, started_at timestamptz, finished_at timestamptz, cancelled_at timestamptz,
       workflow_id text, run_id text, ui_url text, rows_left bigint, rows_skipped_locked bigint)
WHERE NOT EXISTS (SELECT FROM @schema@.job_history AS ended WHERE ended.job_id = j.job_id)
UNION ALL
SELECT h.job_id, h.job_type, CASE WHEN h.table_name <> '' THEN h.table_schema || '.' || h.table_name END, h.status, NULL::text,
       CASE WHEN h.status = 'completed' THEN 1 WHEN h.chunks_total > 0 THEN least(1, round(h.chunks_done::numeric / h.chunks_total, 4)::double precision) ELSE 0 END,
       h.rows_total, h.rows_flushed, h.bytes_written, h.segments, h.chunks_done, h.chunks_total, h.attempt,
       h.error, h.error_class, h.location,
       nullif(h.requested_by, ''), nullif(h.trigger, ''), nullif(h.schedule, ''), nullif(h.statement, ''),
       h.created_at, h.started_at, h.finished_at, h.cancelled_at,
       nullif(h.workflow_id, ''), nullif(h.run_id, ''),
       nullif(pg_catalog.current_setting('spillway.ui_prefix', true), '')
           || replace(replace(nullif(h.workflow_id, ''), '%', '%25'), '/', '%2F') || '/' || nullif(h.run_id, '') || '/history',
       h.rows_left, h.rows_skipped_locked
FROM @schema@.job_history AS h;

DROP FUNCTION IF EXISTS @schema@.live_jobs(); -- its name in earlier versions

COMMENT ON VIEW @system@.jobs IS 'Jobs, live and ended. Readable through the spillway front-end.';
COMMENT ON COLUMN @system@.jobs.job_id IS 'The job, for ever: <type>:<namespace>.<table>:<uuid>.';
COMMENT ON COLUMN @system@.jobs.job_type IS 'Kind of work: flush, restore, verify or cleanup.';
COMMENT ON COLUMN @system@.jobs.target IS 'The table that the job works on, as namespace.name. Null: it works on none.';
COMMENT ON COLUMN @system@.jobs.status IS 'pending, running, pausing, paused, cancelling; completed, failed and cancelled are final.';
COMMENT ON COLUMN @system@.jobs.phase IS 'What a live job is at: planning, moving, residue, publishing, vacuuming, checking, listing, cleaning, finishing; throttled, or waiting: and for what, while it holds chunks back.';
COMMENT ON COLUMN @system@.jobs.progress IS 'Share of the chunks that are done, from 0 to 1.';
COMMENT ON COLUMN @system@.jobs.rows_total IS 'Rows to move: an estimate by the planner''s statistics while the job lives, exact once it has completed.';
COMMENT ON COLUMN @system@.jobs.rows_flushed IS 'Rows moved. Of a flush: removed from the table and registered. Of a restore: put back into the table.';
COMMENT ON COLUMN @system@.jobs.bytes_written IS 'Compressed bytes of its segments.';
COMMENT ON COLUMN @system@.jobs.segments IS 'Files registered by this job.';
COMMENT ON COLUMN @system@.jobs.chunks_done IS 'Chunks committed, empty ones too.';
COMMENT ON COLUMN @system@.jobs.chunks_total IS 'Chunks planned. It grows if the table has to be planned again.';
COMMENT ON COLUMN @system@.jobs.attempt IS 'Highest number of tries that any chunk took.';
COMMENT ON COLUMN @system@.jobs.error IS 'The last error, in full. A job that retries has one while it runs.';
COMMENT ON COLUMN @system@.jobs.error_class IS 'What to do about the error: privilege, refused, storage_full, ….';
COMMENT ON COLUMN @system@.jobs.location IS 'Address of the directory that holds its segments.';
COMMENT ON COLUMN @system@.jobs.requested_by IS 'The database user who asked for it.';
COMMENT ON COLUMN @system@.jobs.trigger IS 'command, policy or schedule.';
COMMENT ON COLUMN @system@.jobs.schedule IS 'The schedule that started it, if one did.';
COMMENT ON COLUMN @system@.jobs.statement IS 'The statement as it was typed.';
COMMENT ON COLUMN @system@.jobs.created_at IS 'When it was asked for.';
COMMENT ON COLUMN @system@.jobs.started_at IS 'When its first chunk started.';
COMMENT ON COLUMN @system@.jobs.finished_at IS 'When it ended, in whatever way.';
COMMENT ON COLUMN @system@.jobs.cancelled_at IS 'When it was asked to stop.';
COMMENT ON COLUMN @system@.jobs.workflow_id IS 'Its workflow in Temporal.';
COMMENT ON COLUMN @system@.jobs.run_id IS 'The latest run of its workflow.';
COMMENT ON COLUMN @system@.jobs.ui_url IS 'Its page in the Temporal Web UI.';
COMMENT ON COLUMN @system@.jobs.rows_left IS 'Matching rows found hot at the end.';
COMMENT ON COLUMN @system@.jobs.rows_skipped_locked IS 'Rows left in the last pass because others held their locks.';

CREATE OR REPLACE VIEW @system@.segments AS
SELECT segment_id, job_id, chunk, attempt, table_schema, table_name, leaf, storage, location, row_count, bytes, sha256, schema_version,
       partition_values, column_stats, pg_types, created_at, restored_at, restored_by, replaced_at, replaced_by
FROM @schema@.segments;

COMMENT ON VIEW @system@.segments IS 'Every file that holds or held cold rows. Cold now: restored_at and replaced_at are null.';
COMMENT ON COLUMN @system@.segments.segment_id IS 'The segment.';
COMMENT ON COLUMN @system@.segments.job_id IS 'The job that wrote it.';
COMMENT ON COLUMN @system@.segments.chunk IS 'The chunk of that job.';
COMMENT ON COLUMN @system@.segments.attempt IS 'The attempt that committed it; its file name ends in it.';
COMMENT ON COLUMN @system@.segments.table_schema IS 'Schema of the flushed table.';
COMMENT ON COLUMN @system@.segments.table_name IS 'The flushed table; of a partitioned one, the root.';
COMMENT ON COLUMN @system@.segments.leaf IS 'The partition that held the rows, or the table itself.';
COMMENT ON COLUMN @system@.segments.storage IS 'The storage that holds the file.';
COMMENT ON COLUMN @system@.segments.location IS 'Address of the file.';
COMMENT ON COLUMN @system@.segments.row_count IS 'Rows in the file.';
COMMENT ON COLUMN @system@.segments.bytes IS 'Size of the file.';
COMMENT ON COLUMN @system@.segments.sha256 IS 'Checksum of the file, in hexadecimal.';
COMMENT ON COLUMN @system@.segments.schema_version IS 'The list of columns under which its rows went cold.';
COMMENT ON COLUMN @system@.segments.partition_values IS 'Values that all its rows share, where files are partitioned by columns.';
COMMENT ON COLUMN @system@.segments.column_stats IS 'Least and greatest value and number of nulls, by column.';
COMMENT ON COLUMN @system@.segments.pg_types IS 'Exact PostgreSQL type, by column.';
COMMENT ON COLUMN @system@.segments.created_at IS 'When the transaction that registered it began.';
COMMENT ON COLUMN @system@.segments.restored_at IS 'When its rows went back into the table.';
COMMENT ON COLUMN @system@.segments.restored_by IS 'The job that restored it.';
COMMENT ON COLUMN @system@.segments.replaced_at IS 'When another segment took its place.';
COMMENT ON COLUMN @system@.segments.replaced_by IS 'The segment that took its place.';

-- Sizes and dead rows are PostgreSQL's own, of the table with its partitions and heirs. A table that somebody locks whole
-- keeps its reader waiting, as in psql's \dt+.
CREATE OR REPLACE VIEW @system@.tables AS
SELECT t.table_schema, t.table_name, t.registered_at, t.policy, t.last_flush_at, t.last_job_id, s.segments, s.rows_cold, s.bytes_cold,
       h.bytes_hot, h.rows_dead, l.rows_flushed AS last_rows_flushed, l.hot_bytes_before AS last_bytes_hot_before,
       l.hot_bytes_after AS last_bytes_hot_after, l.dead_rows AS last_rows_dead, l.dead_bytes AS last_bytes_dead,
       CASE WHEN t.policy IS NULL THEN NULL
            WHEN CASE pg_catalog.jsonb_typeof(t.policy) WHEN 'object' THEN t.policy - '{interval,rows,bytes,min_rows,flush}'::text[] <> '{}'
                       OR t.policy ->> 'interval' !~ '^([0-9]{1,7}h)?([0-9]{1,9}m)?([0-9]{1,9}([.][0-9]{1,9})?s)?$' ELSE true END THEN 'unreadable'
            WHEN t.policy_paused_at IS NOT NULL THEN 'paused' WHEN t.policy_failures > 0 THEN 'failing' ELSE 'active' END AS policy_status,
       p.policy_set_by, p.policy_paused_at, p.policy_paused_by, p.policy_failures, p.policy_error, p.policy_error_class, p.policy_next_try, p.policy_job_id,
       coalesce(t.last_flush_at, p.policy_set_at)
           + CASE WHEN p.policy ->> 'interval' ~ '^(?=.)([0-9]{1,7}h)?([0-9]{1,9}m)?([0-9]{1,9}([.][0-9]{1,9})?s)?$' THEN (p.policy ->> 'interval')::interval END AS next_flush_at
FROM @schema@.tables AS t
CROSS JOIN LATERAL (
    SELECT count(*) AS segments, coalesce(sum(g.row_count), 0)::bigint AS rows_cold, coalesce(sum(g.bytes), 0)::bigint AS bytes_cold
    FROM @schema@.segments AS g
    WHERE g.table_schema = t.table_schema AND g.table_name = t.table_name AND g.restored_at IS NULL AND g.replaced_at IS NULL) AS s
CROSS JOIN LATERAL (
    WITH RECURSIVE tree AS (
        SELECT c.oid FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = t.table_schema::name AND c.relname = t.table_name::name AND c.relkind IN ('r', 'p')
        UNION
        SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits AS i ON i.inhparent = tree.oid)
    SELECT sum(pg_catalog.pg_total_relation_size(oid))::bigint AS bytes_hot, sum(pg_catalog.pg_stat_get_dead_tuples(oid))::bigint AS rows_dead FROM tree) AS h
LEFT JOIN @schema@.job_history AS l ON l.job_id = t.last_job_id
LEFT JOIN @schema@.tables AS p ON p.table_schema = t.table_schema AND p.table_name = t.table_name AND p.policy IS NOT NULL;

COMMENT ON VIEW @system@.tables IS 'Registered tables: those with a policy, and those flushed before.';
COMMENT ON COLUMN @system@.tables.table_schema IS 'Schema of the table.';
COMMENT ON COLUMN @system@.tables.table_name IS 'Name of the table.';
COMMENT ON COLUMN @system@.tables.registered_at IS 'Since when FLUSH ALL covers it.';
COMMENT ON COLUMN @system@.tables.policy IS 'When it flushes by itself.';
COMMENT ON COLUMN @system@.tables.last_flush_at IS 'When its last flush ended.';
COMMENT ON COLUMN @system@.tables.last_job_id IS 'The job of its last flush.';
COMMENT ON COLUMN @system@.tables.segments IS 'Files that hold its cold rows.';
COMMENT ON COLUMN @system@.tables.rows_cold IS 'Its cold rows.';
COMMENT ON COLUMN @system@.tables.bytes_cold IS 'Compressed bytes of its cold rows.';
COMMENT ON COLUMN @system@.tables.bytes_hot IS 'What the table takes up in PostgreSQL now, with indexes, TOAST and partitions. Null: the table is gone.';
COMMENT ON COLUMN @system@.tables.rows_dead IS 'Dead rows that VACUUM will clear away, by PostgreSQL''s statistics, which lag behind a little.';
COMMENT ON COLUMN @system@.tables.last_rows_flushed IS 'Rows that its last flush moved.';
COMMENT ON COLUMN @system@.tables.last_bytes_hot_before IS 'What the table took up when its last flush was planned.';
COMMENT ON COLUMN @system@.tables.last_bytes_hot_after IS 'What the table took up when its last flush ended.';
COMMENT ON COLUMN @system@.tables.last_rows_dead IS 'Dead rows when its last flush ended: those that it moved, and older ones.';
COMMENT ON COLUMN @system@.tables.last_bytes_dead IS 'About how much of last_bytes_hot_after was dead rows, for VACUUM to make free.';
COMMENT ON COLUMN @system@.tables.policy_status IS 'active; paused: it starts nothing; failing: its last try failed; unreadable: a newer version wrote it, and this one starts nothing. Null: there is no policy.';
COMMENT ON COLUMN @system@.tables.policy_set_by IS 'The database user who set the policy.';
COMMENT ON COLUMN @system@.tables.policy_paused_at IS 'Since when the policy rests. Null: it does not.';
COMMENT ON COLUMN @system@.tables.policy_paused_by IS 'Who made it rest: a database user, or the job of a restore.';
COMMENT ON COLUMN @system@.tables.policy_failures IS 'How many of its tries have failed one after the other.';
COMMENT ON COLUMN @system@.tables.policy_error IS 'Why its last try failed. Null: it did not.';
COMMENT ON COLUMN @system@.tables.policy_error_class IS 'What to do about the error.';
COMMENT ON COLUMN @system@.tables.policy_next_try IS 'After a failure: it starts nothing before.';
COMMENT ON COLUMN @system@.tables.policy_job_id IS 'The last job that the policy started.';
COMMENT ON COLUMN @system@.tables.next_flush_at IS 'When its interval will have passed, counted from the last flush, or from when the policy was set. Null: it has no interval.';

CREATE OR REPLACE VIEW @system@.workers AS
SELECT w.identity, w.host, w.pid, w.task_queue, w.status, w.slots_used, w.slots_total, w.version, w.started_at, w.last_seen_at
FROM pg_catalog.json_to_recordset(@schema@.handed_over('workers')) AS w(
       identity text, host text, pid text, task_queue text, status text, slots_used bigint, slots_total bigint, version text,
       started_at timestamptz, last_seen_at timestamptz);

COMMENT ON VIEW @system@.workers IS 'Processes that move chunks. Readable through the spillway front-end.';
COMMENT ON COLUMN @system@.workers.identity IS 'Its name in Temporal.';
COMMENT ON COLUMN @system@.workers.host IS 'The machine, by its own name.';
COMMENT ON COLUMN @system@.workers.pid IS 'Its process there.';
COMMENT ON COLUMN @system@.workers.task_queue IS 'The task queue in Temporal from which it takes chunks.';
COMMENT ON COLUMN @system@.workers.status IS 'running; stopping: it takes no more chunks; silent: no sign of life for 20 seconds. A silent one is forgotten after some minutes.';
COMMENT ON COLUMN @system@.workers.slots_used IS 'Chunks that it moves, as of last_seen_at. Null: not known yet.';
COMMENT ON COLUMN @system@.workers.slots_total IS 'Chunks that it can move at once. Null: not known yet.';
COMMENT ON COLUMN @system@.workers.version IS 'Version of the program.';
COMMENT ON COLUMN @system@.workers.started_at IS 'When it started, by its own clock.';
COMMENT ON COLUMN @system@.workers.last_seen_at IS 'Its last sign of life, by its own clock. There is one every 5 seconds.';

CREATE OR REPLACE VIEW @system@.findings AS
SELECT f.job_id, f.location, f.kind, f.action, f.problem, nullif(f.table_schema, '') AS table_schema, nullif(f.table_name, '') AS table_name,
       nullif(f.storage, '') AS storage, f.segment_id, f.attempt_id, f.bytes, f.found_at
FROM @schema@.findings AS f;

COMMENT ON VIEW @system@.findings IS 'Objects that VERIFY and CLEANUP found not to be as the ledger says. What holds now is what the newest job says.';
COMMENT ON COLUMN @system@.findings.job_id IS 'The job that found it.';
COMMENT ON COLUMN @system@.findings.location IS 'Address of the object.';
COMMENT ON COLUMN @system@.findings.kind IS 'damaged: a segment is not what was registered; missing: its object is not there; stray: nothing explains the object; leftover: an attempt that can never commit left it.';
COMMENT ON COLUMN @system@.findings.action IS 'reported: VERIFY changes nothing; would_delete: a dry run, or the job ended early; deleted; kept: problem says why.';
COMMENT ON COLUMN @system@.findings.problem IS 'What is wrong with it, or why it was kept.';
COMMENT ON COLUMN @system@.findings.table_schema IS 'Schema of the table that was verified.';
COMMENT ON COLUMN @system@.findings.table_name IS 'The table that was verified.';
COMMENT ON COLUMN @system@.findings.storage IS 'The storage that it lies in.';
COMMENT ON COLUMN @system@.findings.segment_id IS 'The segment whose object it is.';
COMMENT ON COLUMN @system@.findings.attempt_id IS 'The attempt that wrote it.';
COMMENT ON COLUMN @system@.findings.bytes IS 'Size of the object. Null: not known.';
COMMENT ON COLUMN @system@.findings.found_at IS 'When it was found.';

CREATE OR REPLACE VIEW @system@.storages AS
SELECT s.name, s.location, s.options, s.is_default, nullif(s.created_by, '') AS created_by, s.created_at, s.checked_at, CASE WHEN s.pending THEN 'creating' ELSE 'ready' END AS status, g.segments, g.rows_cold, g.bytes_cold
FROM @schema@.storages AS s
CROSS JOIN LATERAL (
    SELECT count(*) AS segments, coalesce(sum(g.row_count), 0)::bigint AS rows_cold, coalesce(sum(g.bytes), 0)::bigint AS bytes_cold
    FROM @schema@.segments AS g
    WHERE g.storage = s.name AND g.restored_at IS NULL AND g.replaced_at IS NULL) AS g;

COMMENT ON VIEW @system@.storages IS 'Named places for segments.';
COMMENT ON COLUMN @system@.storages.name IS 'Its name, for FLUSH … WITH (storage = name).';
COMMENT ON COLUMN @system@.storages.location IS 'Where it is: a folder, or a bucket with a prefix.';
COMMENT ON COLUMN @system@.storages.options IS 'How it is reached. It names environment variables and files of the workers, and never holds a secret.';
COMMENT ON COLUMN @system@.storages.is_default IS 'Whether flushes that name no storage go there.';
COMMENT ON COLUMN @system@.storages.created_by IS 'The database user who created it. Null: the first start did.';
COMMENT ON COLUMN @system@.storages.created_at IS 'When it was created.';
COMMENT ON COLUMN @system@.storages.checked_at IS 'When a worker last wrote, read and deleted an object there for a CREATE or an ADOPT. Null: the first start made it.';
COMMENT ON COLUMN @system@.storages.status IS 'ready; creating: no worker has found it good yet, and no flush may use it.';
COMMENT ON COLUMN @system@.storages.segments IS 'Files there that hold cold rows.';
COMMENT ON COLUMN @system@.storages.rows_cold IS 'Rows in these files.';
COMMENT ON COLUMN @system@.storages.bytes_cold IS 'Size of these files.';

-- What is done is in the ledger; when, and whether it is paused, Temporal alone knows. The list is short, for there may be many:
-- n is the name, p whether it is paused, o the note, t the time of the next run. What a statement has just changed Temporal's
-- list may not know yet.
CREATE OR REPLACE VIEW @system@.schedules AS
SELECT s.name, s.statement, s.job_type,
       CASE s.scope WHEN 'table' THEN s.table_schema || '.' || s.table_name WHEN 'namespace' THEN s.table_schema || '.*' ELSE CASE WHEN s.job_type <> 'cleanup' THEN '*' END END AS target,
       nullif(s.every, '') AS every, nullif(s.cron, '') AS cron, CASE WHEN s.cron <> '' THEN coalesce(nullif(s.time_zone, ''), 'UTC') END AS time_zone,
       pg_catalog.make_interval(secs => s.jitter_seconds)::text AS jitter, s.overlap, s.pause_on_failure, pg_catalog.make_interval(secs => s.catchup_seconds)::text AS catchup_window,
       CASE WHEN s.state <> 'ready' THEN s.state WHEN j.n IS NULL AND NOT w.fresh THEN 'creating' WHEN w.paused THEN 'paused' ELSE 'active' END AS status,
       j.o AS note, CASE WHEN NOT w.paused THEN pg_catalog.to_timestamp(j.t) END AS next_run_at,
       s.last_run_at, s.last_ended_at, s.last_status, s.last_job_id, s.last_error, s.runs, s.created_by, s.created_at, s.paused_at, s.paused_by,
       pg_catalog.regexp_replace(nullif(pg_catalog.current_setting('spillway.ui_prefix', true), ''), 'workflows/$', 'schedules/')
           || replace(replace(s.temporal_id, '%', '%25'), '/', '%2F') AS ui_url
FROM @schema@.schedules AS s
LEFT JOIN pg_catalog.json_to_recordset(@schema@.handed_over('schedules')) AS j(n text, p boolean, o text, t bigint) ON j.n = s.name
CROSS JOIN LATERAL (SELECT s.changed_at > pg_catalog.statement_timestamp() - interval '10 seconds') AS f(fresh)
CROSS JOIN LATERAL (SELECT f.fresh, CASE WHEN f.fresh OR j.n IS NULL THEN s.paused_at IS NOT NULL ELSE coalesce(j.p, false) END) AS w(fresh, paused);

COMMENT ON VIEW @system@.schedules IS 'What is done at set times. Readable through the spillway front-end.';
COMMENT ON COLUMN @system@.schedules.name IS 'Its name.';
COMMENT ON COLUMN @system@.schedules.statement IS 'The statement that created it, as it was typed.';
COMMENT ON COLUMN @system@.schedules.job_type IS 'What it starts: flush, verify or cleanup.';
COMMENT ON COLUMN @system@.schedules.target IS 'The table; schema.*: the tables of a schema; *: all tables. Null: a clean-up has none.';
COMMENT ON COLUMN @system@.schedules.every IS 'The interval of its runs, which counts from 1970 in UTC. Null: it has a cron expression.';
COMMENT ON COLUMN @system@.schedules.cron IS 'The cron expression. Null: it has an interval.';
COMMENT ON COLUMN @system@.schedules.time_zone IS 'The time zone of the cron expression.';
COMMENT ON COLUMN @system@.schedules.jitter IS 'By how much a run may be late, on purpose.';
COMMENT ON COLUMN @system@.schedules.overlap IS 'What happens at a time when the run before has not ended: skip, buffer_one or allow.';
COMMENT ON COLUMN @system@.schedules.pause_on_failure IS 'Whether a run that fails pauses it.';
COMMENT ON COLUMN @system@.schedules.catchup_window IS 'How late a run may begin that could not begin in time. One that is later is left out.';
COMMENT ON COLUMN @system@.schedules.status IS 'active, paused, creating (Temporal does not know it yet, or lost it) or dropping.';
COMMENT ON COLUMN @system@.schedules.note IS 'Who paused or resumed it, or why it paused itself.';
COMMENT ON COLUMN @system@.schedules.next_run_at IS 'When it runs next. Null: it is paused, or never.';
COMMENT ON COLUMN @system@.schedules.last_run_at IS 'When its last run began.';
COMMENT ON COLUMN @system@.schedules.last_ended_at IS 'When its last run ended. Null: it has not.';
COMMENT ON COLUMN @system@.schedules.last_status IS 'What became of the last run: running, completed, failed or cancelled (somebody killed its job).';
COMMENT ON COLUMN @system@.schedules.last_job_id IS 'The last job of the last run; of one that failed, a job that did.';
COMMENT ON COLUMN @system@.schedules.last_error IS 'Why the last run failed.';
COMMENT ON COLUMN @system@.schedules.runs IS 'How many runs have begun.';
COMMENT ON COLUMN @system@.schedules.created_by IS 'The database user who created it.';
COMMENT ON COLUMN @system@.schedules.created_at IS 'When it was created.';
COMMENT ON COLUMN @system@.schedules.paused_at IS 'When it was paused.';
COMMENT ON COLUMN @system@.schedules.paused_by IS 'Who paused it.';
COMMENT ON COLUMN @system@.schedules.ui_url IS 'Its page in the Temporal Web UI.';
