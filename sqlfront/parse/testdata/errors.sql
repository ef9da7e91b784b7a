FLUSH
--==
FLUSH TABLES app.events
--==
FLUSH TABLE
--==
FLUSH TABLE events
--==
FLUSH TABLE "Ünï" WHERE true
--==
FLUSH TABLE a.b.c
--==
FLUSH TABLE a.'b'
--==
FLUSH TABLE app.events WEHRE x = 1
--==
FLUSH TABLE app.events; SELECT 1
--==
FLUSH TABLE app.events WITH wait
--==
FLUSH TABLE app.events WITH (wait = )
--==
FLUSH TABLE app.events WITH (wait = true
--==
FLUSH TABLE app.events WITH (wait = true, wait = false)
--==
FLUSH TABLE app.events WITH (wait) WITH (verify = full)
--==
FLUSH TABLE app.events WHERE
--==
FLUSH TABLE app.events WHERE ;
--==
FLUSH TABLE app.events WHERE true) ; DROP TABLE app.events; --
--==
FLUSH TABLE app.events WHERE (true
--==
FLUSH TABLE app.events WHERE (true; DROP TABLE x)
--==
FLUSH TABLE app.events WHERE (a[1)]
--==
FLUSH TABLE app.events WHERE true; DROP TABLE app.events
--==
FLUSH TABLE app.events WHERE note = 'open
--==
FLUSH TABLE app.events WHERE é = 'ü' AND note = $tag$ open $TAG$
--==
FLUSH TABLE app.events WHERE true /* open /* twice */
--==
FLUSH TABLE app.events WHERE id < $1
--==
FLUSH TABLE app.events WHERE "" = 1
--==
FLUSH TABLE app.events OLDER '7 days'
--==
FLUSH TABLE app.events OLDER THAN 7
--==
FLUSH TABLE app.events OLDER THAN interval '7 days'
--==
FLUSH TABLE app.events OLDER THAN '7 days
--==
FLUSH TABLE app.events OLDER THAN '7 days' created_at
--==
FLUSH TABLE app.events OLDER THAN '7 days' ON
--==
FLUSH TABLE app.events OLDER THAN '7 days' ON 'created_at'
--==
FLUSH TABLE app.events OLDER THAN '7 days' ON events.created_at
--==
FLUSH TABLE app.events OLDER THAN '7 days' ON created_at OLDER THAN '1 day'
--==
FLUSH TABLE app.events WITH (wait) OLDER THAN '7 days'
--==
FLUSH TABLE app.events OLDER THAN '7 days' ON ""
--==
FLUSH ALL OLDER THAN '7 days'
--==
FLUSH ALL WHERE true
--==
FLUSH ALL app
--==
FLUSH ALL IN
--==
KILL 123
--==
KILL JOB
--==
KILL JOB abc
--==
KILL JOB "abc"
--==
KILL JOB $2
--==
KILL JOB 'a' 'b'
--==
KILL JOBS
--==
CANCEL JOBS 'a'
--==
KILL JOBS WHERE
--==
KILL JOBS WHERE status = 'running'; DROP TABLE x
--==
KILL JOBS WHERE true) OR (true
--==
KILL JOBS WHERE (true
--==
KILL JOBS WHERE target = $1
--==
KILL JOBS WHERE true /* open
--==
KILL JOBS WHERE target = 'open
--==
STORAGE KILL JOB 'x'
--==
  PAUSE JOB x
--==
RESUME JOB
--==
PAUSE x
--==
RESUME
--==
PAUSE JOB $2
--==
PAUSE JOB 'a', 'b'
--==
RESUME JOB 'a' WHERE true
--==
PAUSE JOBS WHERE status = 'running'
--==
RESUME JOBS WHERE status = 'paused'
--==
EXPLAIN FLUSH
--==
EXPLAIN FLUSH ALL
--==
EXPLAIN STORAGE SHOW JOBS
--==
EXPLAIN FLUSH TABLE a.b WEHRE true
--==
EXPLAIN KILL JOB 'x'
--==
EXPLAIN CANCEL JOBS
--==
EXPLAIN STORAGE KILL JOBS WHERE true
--==
ALTER TABLE a.b SET FLUSH POLICY
--==
SHOW JOB 'x' WHEN
--==
SHOW JOB 'x' WHEN DONE
--==
SHOW JOB 'x' WHEN COMPLETE NOW
--==
SHOW JOBS 'x'
--==
SHOW COLD
--==
RESTORE a.b
--==
RESTORE TABLE events
--==
RESTORE TABLE a.b FROM 'flush:a.b:x'
--==
RESTORE TABLE a.b FROM JOB
--==
RESTORE TABLE a.b FROM JOB $2
--==
RESTORE TABLE a.b WITH (wait) FROM JOB 'x'
--==
RESTORE TABLE a.b OLDER THAN '7 days'
--==
RESTORE TABLE a.b WITH (on_conflict = skip) WITH (wait)
--==
RESTORE TABLE a.b WHERE
--==
RESTORE TABLE a.b WHERE id = $1
--==
RESTORE TABLE a.b now
--==
VERIFY
--==
VERIFY a.b
--==
VERIFY TABLE
--==
VERIFY TABLE b
--==
VERIFY TABLE a.b WHERE true
--==
VERIFY TABLE a.b WITH (x) WITH (y)
--==
VERIFY TABLE a.b c
--==
CLEANUP TABLE a.b
--==
CLEANUP OBJECT
--==
CLEANUP OBJECT file:///x
--==
CLEANUP OBJECT ''
--==
CLEANUP OBJECT 'a',
--==
CLEANUP OBJECT 'a' 'b'
--==
CLEANUP OBJECT 'a', 'b', 'a'
--==
CLEANUP OBJECTS 'a'
--==
CLEANUP WITH (dry_run) OBJECT 'a'
--==
CLEANUP OBJECT $1
--==
CLEANUP OBJECT B'01'
--==
CLEANUP NOW
--==
FLUSH TABLE app.events WITH (as_text = ())
--==
FLUSH TABLE app.events WITH (as_text = (a, 'b'))
--==
FLUSH TABLE app.events WITH (as_text = (a
--==
FLUSH TABLE app.events WITH (partition_by = ())
--==
FLUSH TABLE app.events WITH (partition_by = (a,))
--==
FLUSH TABLE app.events WITH (partition_by = (a b))
--==
FLUSH TABLE app.events WITH (partition_by = (day(a), day()))
--==
FLUSH TABLE app.events WITH (partition_by = (day(a, b)))
--==
FLUSH TABLE app.events WITH (partition_by = ("day"(a)))
--==
FLUSH TABLE app.events WITH (partition_by = (day(day(a))))
--==
FLUSH TABLE app.events WITH (partition_by = ('a'))
--==
FLUSH TABLE app.events WITH (order_by = (a DESC NULLS))
--==
FLUSH TABLE app.events WITH (order_by = (a ASC DESC))
--==
FLUSH TABLE app.events WITH (order_by = (a
--==
CLEANUP
--==
CREATE STORAGE
--==
CREATE STORAGE 'archive' LOCATION 's3://b'
--==
CREATE STORAGE archive
--==
CREATE STORAGE archive 's3://b'
--==
CREATE STORAGE archive LOCATION
--==
CREATE STORAGE archive LOCATION s3
--==
CREATE STORAGE archive LOCATION AKIAIOSFODNN7EXAMPLE
--==
CREATE STORAGE archive LOCATION 's3://b' WITH
--==
CREATE STORAGE archive LOCATION 's3://b' WITH (region = ('x'))
--==
CREATE STORAGE archive LOCATION 's3://b' WITH (region = (eu))
--==
CREATE STORAGE archive LOCATION 's3://b' IN x
--==
CREATE STORAGE a.b LOCATION 's3://b'
--==
DROP STORAGE
--==
DROP STORAGE archive CASCADE
--==
DROP STORAGE 'archive'
--==
ALTER STORAGE archive
--==
ALTER STORAGE archive SET LOCATION 's3://b'
--==
ALTER STORAGE archive ADOPT now
--==
SHOW STORAGES archive
--==
CREATE SCHEDULE
--==
CREATE SCHEDULE 'n' FOR FLUSH ALL EVERY '1 day'
--==
CREATE SCHEDULE a.b FOR FLUSH ALL EVERY '1 day'
--==
CREATE SCHEDULE n FLUSH ALL
--==
CREATE SCHEDULE n FOR SELECT 1 EVERY '1 day'
--==
CREATE SCHEDULE n FOR FLUSH events EVERY '1 day'
--==
CREATE SCHEDULE n FOR FLUSH TABLE events EVERY '1 day'
--==
CREATE SCHEDULE n FOR FLUSH TABLE app.events
--==
CREATE SCHEDULE n FOR FLUSH TABLE app.events WHERE x EVERY '1 day'
--==
CREATE SCHEDULE n FOR FLUSH TABLE app.events EVERY 1 day
--==
CREATE SCHEDULE n FOR FLUSH TABLE app.events EVERY '1 day' TIME ZONE 'UTC'
--==
CREATE SCHEDULE n FOR FLUSH TABLE app.events EVERY '1 day' CRON '0 3 * * *'
--==
CREATE SCHEDULE n FOR FLUSH TABLE app.events CRON
--==
CREATE SCHEDULE n FOR FLUSH TABLE app.events CRON ' '
--==
CREATE SCHEDULE n FOR FLUSH TABLE app.events CRON '0 3 * * *' TIME 'UTC'
--==
CREATE SCHEDULE n FOR FLUSH TABLE app.events CRON '0 3 * * *' TIME ZONE ''
--==
CREATE SCHEDULE n FOR FLUSH TABLE app.events CRON '0 3 * * *' WITH (overlap = skip) WITH (paused)
--==
CREATE SCHEDULE n FOR FLUSH ALL EVERY '1 day' WHERE x
--==
CREATE SCHEDULE n FOR CLEANUP OBJECT 's3://b/x' EVERY '1 day'
--==
CREATE SCHEDULE n FOR VERIFY EVERY '1 day'
--==
CREATE SCHEDULE n FOR KILL JOBS WHERE true
--==
PAUSE SCHEDULE
--==
RESUME SCHEDULE n m
--==
TRIGGER n
--==
TRIGGER SCHEDULE 'n'
--==
DROP SCHEDULE n CASCADE
--==
BACKFILL SCHEDULE n
--==
BACKFILL SCHEDULE n FROM '2026-01-01'
--==
BACKFILL SCHEDULE n FROM 2026 TO 2027
--==
BACKFILL n
--==
SHOW SCHEDULE
--==
SHOW SCHEDULES n
--==
EXPLAIN SCHEDULE
--==
ALTER TABLE a.b SET FLUSH POLICY ()
--==
ALTER TABLE a.b SET FLUSH POLICY WITH (rows = 1)
--==
ALTER TABLE a.b SET FLUSH POLICY (rows = 1, rows = 2)
--==
ALTER TABLE a.b SET FLUSH (rows = 1)
--==
ALTER TABLE b SET FLUSH POLICY (rows = 1)
--==
ALTER TABLE IF EXISTS a.b RESET FLUSH POLICY
--==
ALTER TABLE ONLY a.b PAUSE FLUSH POLICY
--==
ALTER TABLE a.b * RESUME FLUSH POLICY
--==
ALTER TABLE a.b RESET FLUSH POLICY (rows)
--==
SHOW FLUSH
--==
SHOW FLUSH POLICY a.b
