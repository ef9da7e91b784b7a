-- When and what tables flush by themselves, and what became of it. The policy itself is in spillway.tables.policy; these are
-- who set it, the last job that it started, and how its failures are held back.
ALTER TABLE @schema@.tables
    ADD COLUMN policy_set_at timestamptz,
    ADD COLUMN policy_set_by text,
    ADD COLUMN policy_statement text,
    ADD COLUMN policy_job_id text,
    ADD COLUMN policy_tried_at timestamptz,
    ADD COLUMN policy_failures integer NOT NULL DEFAULT 0,
    ADD COLUMN policy_error text,
    ADD COLUMN policy_error_class text,
    ADD COLUMN policy_next_try timestamptz;
COMMENT ON COLUMN @schema@.tables.policy_set_at IS 'When the policy was set. An interval of a table that was never flushed counts from here.';
COMMENT ON COLUMN @schema@.tables.policy_set_by IS 'The database user who set the policy.';
COMMENT ON COLUMN @schema@.tables.policy_statement IS 'The statement that set the policy, as it was typed.';
COMMENT ON COLUMN @schema@.tables.policy_job_id IS 'The last job that the policy started.';
COMMENT ON COLUMN @schema@.tables.policy_tried_at IS 'When the policy last started a job or tried to.';
COMMENT ON COLUMN @schema@.tables.policy_failures IS 'How many of its tries have failed one after the other.';
COMMENT ON COLUMN @schema@.tables.policy_error IS 'Why the last try failed. Null: it did not.';
COMMENT ON COLUMN @schema@.tables.policy_error_class IS 'What to do about the error.';
COMMENT ON COLUMN @schema@.tables.policy_next_try IS 'The policy starts nothing before. Null: it may at any time.';
COMMENT ON COLUMN @schema@.tables.policy_paused_by IS 'Who made it rest: a restore''s job id, or a database user.';
CREATE INDEX tables_with_policy ON @schema@.tables (table_schema, table_name) WHERE policy IS NOT NULL;
