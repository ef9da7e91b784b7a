-- Rights of Spillway's worker in the database app. Run this as a superuser, or as a role with CREATEROLE that may create
-- schemas here and owns the tables. It may be run again.
BEGIN;

-- The role that the worker logs in as; set its password afterwards, in psql with \password spillway.
-- Who is no superuser must be its member to create schemas that it owns.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'spillway') THEN
        CREATE ROLE spillway LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        GRANT spillway TO CURRENT_USER;
    END IF;
END $$;

-- Its two schemas: spillway, the ledger of what was moved, and system, the views that people read.
CREATE SCHEMA IF NOT EXISTS spillway AUTHORIZATION spillway;
CREATE SCHEMA IF NOT EXISTS system AUTHORIZATION spillway;

-- The tables to flush. SELECT and DELETE: rows are moved by DELETE … RETURNING. UPDATE on one column: rows that others
-- hold are stepped over by SELECT … FOR UPDATE SKIP LOCKED, which asks for that right; nothing is ever updated.
-- Partitions are moved one by one and need their own grants; run this again when new ones have come.
GRANT USAGE ON SCHEMA app TO spillway;
GRANT SELECT, DELETE ON TABLE app.events TO spillway;
GRANT UPDATE (id) ON TABLE app.events TO spillway;

-- In a deadlock with an application the flush is to be the one that PostgreSQL ends, to try again: the worker looks for deadlocks sooner.
-- Only a superuser may grant this, from PostgreSQL 15 on; without it an application may be ended, very rarely.
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 150000 AND (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        LOCK TABLE pg_catalog.pg_parameter_acl IN SHARE ROW EXCLUSIVE MODE; -- or two such scripts at once would fail
        EXECUTE 'GRANT SET ON PARAMETER deadlock_timeout TO spillway'; -- older versions cannot read it
    END IF;
END $$;

-- Members of this role may flush tables that they do not own, and kill any job: GRANT spillway_operator TO somebody;
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'spillway_operator') THEN
        CREATE ROLE spillway_operator NOLOGIN;
    END IF;
END $$;

-- Who may read system.jobs and system.segments. The views themselves come when the worker first starts.
GRANT USAGE ON SCHEMA system TO spillway_operator;
GRANT SELECT ON ALL TABLES IN SCHEMA system TO spillway_operator;
ALTER DEFAULT PRIVILEGES FOR ROLE spillway IN SCHEMA system GRANT SELECT ON TABLES TO spillway_operator;
GRANT USAGE ON SCHEMA system TO app;
GRANT SELECT ON ALL TABLES IN SCHEMA system TO app;
ALTER DEFAULT PRIVILEGES FOR ROLE spillway IN SCHEMA system GRANT SELECT ON TABLES TO app;

COMMIT;
