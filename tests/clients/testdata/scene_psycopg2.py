"""The scene, played by psycopg2: parameters are put into the text by the client."""
import io
import sys

import psycopg2


def code(cursor, *statement):
    try:
        cursor.execute(*statement)
        return "none"
    except psycopg2.Error as e:
        return e.pgcode


def main(url, name):
    conn = psycopg2.connect(url)
    conn.autocommit = True
    cur = conn.cursor()

    def one(*statement):
        cur.execute(*statement)
        return cur.fetchone()

    print("query", *one("SELECT 42, 'héllo'"))
    print("parameters", *("NULL" if v is None else v for v in one("SELECT %s, %s, %s", (7, "héllo", None))))
    cur.execute("SELECT i FROM generate_series(1, 10000) i")
    rows = cur.fetchall()
    print("many rows", len(rows), sum(r[0] for r in rows))

    cur.execute("CREATE TEMP TABLE scratch (id int)")
    conn.autocommit = False
    cur.executemany("INSERT INTO scratch VALUES (%s)", [(1,), (2,)])
    (inside,) = one("SELECT count(*) FROM scratch")
    conn.rollback()
    print("transaction", inside, *one("SELECT count(*) FROM scratch"))
    conn.commit()

    print("error", code(cur, "SELECT 1 / %s", (0,)))
    conn.rollback()
    code(cur, "SELECT nonsense")
    print("aborted", code(cur, "SELECT 1"), code(cur, "SHOW JOBS"))
    conn.rollback()
    conn.autocommit = True

    cur.copy_expert("COPY scratch FROM STDIN", io.StringIO("1\n2\n3\n"))
    out = io.StringIO()
    cur.copy_expert("COPY scratch TO STDOUT", out)
    numbers = [int(n) for n in out.getvalue().split()]
    print("copy", len(numbers), sum(numbers))
    cur.execute("DO $$BEGIN RAISE NOTICE 'hello'; END$$")
    print("notice", conn.notices[-1].split(":")[1].strip())

    job, status = one(f"FLUSH TABLE app.{name}_rows WITH (wait = true)")[:2]
    print("flush", status, *one("SELECT rows_flushed FROM system.jobs WHERE job_id = %s", (job,)))
    print("jobs", *one("SELECT status, rows_flushed FROM system.jobs WHERE job_id = %s", (job,)))
    shown = one("SHOW JOB %s", (job,))
    shown = dict(zip((d.name for d in cur.description), shown))
    print("shown", shown["status"], shown["rows_flushed"])
    print("syntax", code(cur, "FLUSH TABLES"))
    print("unknown", code(cur, "KILL JOB %s", ("flush:app.x:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f",)))
    print("finished", code(cur, "KILL JOB %s", (job,)))

    job = one(f"FLUSH TABLE app.{name}_held")[0]
    print("kill", one("KILL JOB %s", (job,))[1])
    status = "cancelling"
    while status == "cancelling":
        (status,) = one("SELECT status FROM system.jobs WHERE job_id = %s", (job,))
        cur.execute("SELECT pg_sleep(0.02)")
    print("killed", status)
    conn.close()
    print("done")


main(*sys.argv[1:])
