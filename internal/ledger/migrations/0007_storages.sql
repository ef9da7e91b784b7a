-- Storages that people create: by whom, and whether a worker has looked at them. A pending one is not used yet.
ALTER TABLE @schema@.storages
    ADD COLUMN created_by  text NOT NULL DEFAULT '',
    ADD COLUMN pending     boolean NOT NULL DEFAULT false,
    ADD COLUMN checked_at  timestamptz,
    ADD COLUMN check_class text,
    ADD COLUMN check_error text;
COMMENT ON COLUMN @schema@.storages.options IS 'How the bucket is reached: names of environment variables, files and profiles, never what they hold.';
COMMENT ON COLUMN @schema@.storages.pending IS 'It is being created: no worker has found it good yet, and no flush may use it.';
COMMENT ON COLUMN @schema@.storages.checked_at IS 'When a worker last wrote, read and deleted there for a statement.';
COMMENT ON COLUMN @schema@.storages.check_error IS 'What kept the last check from succeeding.';
