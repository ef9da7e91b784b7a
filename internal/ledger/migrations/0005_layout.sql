-- A chunk may have many segments, in many directories.

ALTER TABLE @schema@.chunks ADD COLUMN segments integer NOT NULL DEFAULT 0;
UPDATE @schema@.chunks AS c SET segments = s.n
FROM (SELECT job_id, chunk, count(*) AS n FROM @schema@.segments GROUP BY job_id, chunk) AS s
WHERE s.job_id = c.job_id AND s.chunk = c.chunk;

ALTER TABLE @schema@.segments ADD COLUMN codec text NOT NULL DEFAULT 'zstd';

CREATE TABLE @schema@.attempt_objects (
    attempt_id uuid NOT NULL,
    batch      integer NOT NULL,
    objects    jsonb NOT NULL,
    PRIMARY KEY (attempt_id, batch)
);
COMMENT ON TABLE @schema@.attempt_objects IS 'Objects of an attempt that has not committed, recorded before they are written where their directories depend on values of rows.';
