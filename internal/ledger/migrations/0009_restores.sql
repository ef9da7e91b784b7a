-- A table's policy rests after a restore, or it would flush the rows straight back. Segments that took others' places are
-- looked up by what they replaced.
ALTER TABLE @schema@.tables
    ADD COLUMN policy_paused_at timestamptz,
    ADD COLUMN policy_paused_by text;
COMMENT ON COLUMN @schema@.tables.policy_paused_at IS 'Since when the policy rests. Null: it does not.';
COMMENT ON COLUMN @schema@.tables.policy_paused_by IS 'The restore that made it rest.';
CREATE INDEX segments_replaced ON @schema@.segments (replaced_by) WHERE replaced_by IS NOT NULL;
