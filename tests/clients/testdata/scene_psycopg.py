"""The scene, played by psycopg 3: parameters go to the server, statements are prepared after some runs, pipelines."""
import sys

import psycopg
from psycopg.rows import dict_row


def code(conn, *statement, **options):
    try:
        conn.execute(*statement, **options)
        return "none"
    except psycopg.Error as e:
        return e.sqlstate


def main(url, name):
    conn = psycopg.connect(url, autocommit=True)
    notices = []
    conn.add_notice_handler(lambda n: notices.append(n.message_primary))

    def one(*statement, **options):
        return conn.execute(*statement, **options).fetchone()

    print("query", *one("SELECT 42, 'héllo'"))
    print("parameters", *("NULL" if v is None else v for v in one("SELECT %s::int, %s::text, %s::text", (7, "héllo", None))))
    rows = conn.execute("SELECT i FROM generate_series(1, %s::int) i", (10000,)).fetchall()
    print("many rows", len(rows), sum(r[0] for r in rows))

    conn.execute("CREATE TEMP TABLE scratch (id int)")
    with conn.transaction(force_rollback=True):
        with conn.pipeline():  # ours in the middle
            conn.execute("INSERT INTO scratch VALUES (%s)", (1,))
            conn.execute("SHOW JOBS")
            conn.execute("INSERT INTO scratch VALUES (%s)", (2,))
        (inside,) = one("SELECT count(*) FROM scratch")
    print("transaction", inside, *one("SELECT count(*) FROM scratch"))

    print("error", code(conn, "SELECT 1 / %s::int", (0,)))
    conn.autocommit = False
    code(conn, "SELECT nonsense")
    print("aborted", code(conn, "SELECT 1"), code(conn, "SHOW JOBS", prepare=True))
    conn.rollback()
    conn.autocommit = True

    with conn.cursor() as cur:
        with cur.copy("COPY scratch FROM STDIN") as copy:
            for i in 1, 2, 3:
                copy.write_row((i,))
        with cur.copy("COPY scratch TO STDOUT") as copy:
            numbers = [int(row[0]) for row in copy.rows()]
    print("copy", len(numbers), sum(numbers))
    conn.execute("DO $$BEGIN RAISE NOTICE 'hello'; END$$")
    print("notice", notices[0])

    job, status = one(f"FLUSH TABLE app.{name}_rows WITH (wait = true)")[:2]
    print("flush", status, *one("SELECT rows_flushed FROM system.jobs WHERE job_id = %s", (job,)))
    for binary in False, True:  # rows in both forms
        with conn.cursor(binary=binary) as cur:
            found = cur.execute("SELECT status, rows_flushed FROM system.jobs WHERE job_id = %s", (job,)).fetchone()
    print("jobs", *found)
    for _ in range(8):  # prepared from the sixth time on
        with conn.cursor(row_factory=dict_row, binary=True) as cur:
            shown = cur.execute("SHOW JOB %s", (job,)).fetchone()
    print("shown", shown["status"], shown["rows_flushed"])
    print("syntax", code(conn, "FLUSH TABLES", prepare=True))
    print("unknown", code(conn, "KILL JOB %s", ("flush:app.x:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f",), prepare=True))
    print("finished", code(conn, "KILL JOB %s", (job,), prepare=True))

    job = one(f"FLUSH TABLE app.{name}_held")[0]
    print("kill", one("KILL JOB %s", (job,), prepare=True)[1])
    status = "cancelling"
    while status == "cancelling":
        (status,) = one("SELECT status FROM system.jobs WHERE job_id = %s", (job,))
        conn.execute("SELECT pg_sleep(0.02)")
    print("killed", status)
    conn.close()
    print("done")


main(*sys.argv[1:])
