FLUSH TABLE app.events
--==
flush table app.events;
--==
  /* a /* nested */ comment */ Flush -- to the end
  Table App."Odd ""Name""" ;
--==
FLUSH TABLE U&"d\0061t".t
--==
STORAGE FLUSH TABLE app.events
--==
FLUSH TABLE app.events WITH (wait, parallelism = 4, chunk_bytes = '64MB', verify = FULL, lock_timeout = -1)
--==
FLUSH TABLE app.events WITH (as_text = (Tags, "Odd, ""Name"""), wait)
--==
FLUSH TABLE app.events WITH (as_text = 'tags, "Odd, ""Name"""')
--==
FLUSH TABLE app.events WITH (wait = true) WHERE created_at < '2026-01-01' AND note <> 'it''s; (fine' -- end
--==
FLUSH TABLE app.events WHERE (a = $$x;y$$ OR b = E'\';' or c[1] = 2) /* ; */ ;
--==
FLUSH TABLE app.events WHERE "column ; odd" IS NULL
--==
FLUSH ALL
--==
FLUSH ALL TABLES IN App WITH (unregistered = true)
--==
STORAGE FLUSH ALL IN "App"
--==
KILL JOB 'flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f'
--==
CANCEL JOB E'x\ty\\'
--==
KILL JOB 'x;y';
--==
KILL JOB $1
--==
KILL JOB $$dollar$$
--==
PAUSE JOB 'flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f'
--==
  pause /* now */ Job $1;
--==
RESUME JOB 'flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f'
--==
RESUME JOB $1
--==
SHOW JOBS
--==
show job 'it''s'
--==
SHOW JOB $1
--==
SHOW COLD TABLE app.events
--==
FLUSH TABLE app.events OLDER THAN '7 days'
--==
flush table app.events older than $$it's 1 week$$ on Created_At;
--==
FLUSH TABLE app.events OLDER THAN E'\'\\' ON "Odd ""Name""" WITH (wait) WHERE kind = 'click'
--==
FLUSH TABLE app.events OLDER THAN '1 mon' WHERE true
--==
FLUSH TABLE app.older OLDER THAN '-7 days' ON "on"
--==
EXPLAIN FLUSH TABLE app.events
--==
explain storage flush table app.events older than '7 days' on at with (parallelism = 4) where id < 5;
--==
SHOW JOB 'flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f' WHEN COMPLETE;
--==
show job $1 when complete
--==
KILL JOBS WHERE target = 'app.events' AND status IN ('pending', 'running')
--==
cancel jobs where /* old ones */ created_at < now() - interval '1 h' -- and
  AND job_id NOT IN (SELECT id FROM keep);
--==
EXPLAIN KILL JOBS WHERE true
--==
explain cancel jobs where requested_by = current_user;
--==
FLUSH TABLE app.events WITH (partition_by = (tenant_id, day(created_at)), order_by = (created_at DESC, id ASC, "Odd, ""Name""" DESC NULLS LAST, x NULLS LAST, y NULLS FIRST), bloom = (id))
--==
FLUSH TABLE app.events WITH (order_by=(Desc DESC NULLS FIRST, U&"d\0061t" ), path = '{namespace}/{column:tenant_id}', partition_by = (DAY("At")))
--==
verify table app.events;
--==
VERIFY TABLE "A b"."c""d" WITH (wait = true, parallelism = 4)
--==
CLEANUP
--==
cleanup with (dry_run);
--==
CLEANUP OBJECT 'file:///cold/app/x.parquet'
--==
CLEANUP OBJECT E'file:///it''s\\x', $$s3://b/ä$$, 'x' /* c */ WITH (dry_run = true, wait = 'on') ; ;
--==
RESTORE TABLE app.events
--==
restore table App."Odd ""Name""" From Job 'flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f' With (On_Conflict = skip, drop_columns = (a, "b,c"), wait) where x = 'it''s' ;
--==
RESTORE TABLE app.events FROM JOB $1
--==
RESTORE TABLE app.events WHERE "from" IS NULL -- end
--==
CREATE STORAGE archive LOCATION 's3://bucket/cold'
--==
create storage "Old Ones" location 's3://bucket/it''s' with (endpoint = 'https://minio.example.org:9000', path_style = true, access_key_env = 'SPILLWAY_STORAGE_KEY', part_size = '16MB');
--==
CREATE STORAGE local /* a folder */ LOCATION '/srv/cold' WITH (path = '{namespace}/{table}/{yyyy}')
--==
DROP STORAGE archive
--==
drop storage "Old Ones";
--==
ALTER STORAGE archive ADOPT
--==
SHOW STORAGES
--==
FLUSH TABLE app.events WITH (storage = "Old Ones")
--==
CREATE SCHEDULE nightly FOR FLUSH TABLE app.events EVERY '1 day'
--==
create schedule "Night ly" for storage flush table App."E v" older than '7 days' on created_at with (parallelism = 2) cron '0 3 * * *' time zone 'Europe/Berlin' with (overlap = buffer_one, jitter = '10 seconds', pause_on_failure) where kind = 'it''s' and (a OR b) ;
--==
CREATE SCHEDULE n FOR FLUSH ALL TABLES IN app WITH (unregistered) CRON $$@daily$$ WITH (paused = true)
--==
CREATE SCHEDULE n FOR FLUSH ALL EVERY '10 minutes'
--==
CREATE SCHEDULE n FOR VERIFY TABLE app.events WITH (parallelism = 2) EVERY '7 days'
--==
CREATE SCHEDULE n FOR VERIFY ALL IN app EVERY '7 days'
--==
CREATE SCHEDULE n FOR CLEANUP WITH (dry_run = true) EVERY '1 day' WITH (catchup_window = '1 hour')
--==
PAUSE SCHEDULE nightly
--==
RESUME SCHEDULE "Night ly" ;
--==
TRIGGER SCHEDULE nightly
--==
drop schedule nightly
--==
BACKFILL SCHEDULE nightly FROM '2026-01-01' TO '2026-01-02 03:00+01'
--==
SHOW SCHEDULES
--==
SHOW SCHEDULE nightly
--==
EXPLAIN SCHEDULE nightly
--==
ALTER TABLE app.events SET FLUSH POLICY (interval = '5 minutes', rows = 1000000, bytes = '1GB')
--==
alter table App."Odd ""Name""" set flush policy (Interval = $$it's 1 day$$, older_than = '7 days', age_column = "At", paused,
  partition_by = (tenant_id, month(at)), where = $q$kind = 'click' AND note <> 'it''s; (fine'$q$);
--==
ALTER TABLE app.events SET FLUSH POLICY (rows = 1, where = E'a = \'\\\'')
--==
ALTER TABLE app.events RESET FLUSH POLICY;
--==
alter table app.events pause flush policy
--==
ALTER TABLE app.events RESUME FLUSH POLICY
--==
SHOW FLUSH POLICIES
--==
show flush policy for app.events;
