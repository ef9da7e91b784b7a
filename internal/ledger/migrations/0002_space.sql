-- What a flush did to the size of its table. NULL: it was not measured.
ALTER TABLE @schema@.job_history
    ADD COLUMN hot_bytes_before bigint,
    ADD COLUMN hot_bytes_after  bigint,
    ADD COLUMN cold_bytes       bigint,
    ADD COLUMN dead_rows        bigint,
    ADD COLUMN dead_bytes       bigint;
