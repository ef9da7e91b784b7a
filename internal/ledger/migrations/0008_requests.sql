-- Which request a job that has ended came from: one that ended before it had a plan has no other trace of it, and what its statement
-- said must not outlive it.
ALTER TABLE @schema@.job_history ADD COLUMN request_id uuid;
COMMENT ON COLUMN @schema@.job_history.request_id IS 'What was asked for. Null: not known.';
