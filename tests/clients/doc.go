// Package clients runs other people's PostgreSQL clients against the built product: psql, pgx, node-postgres, JDBC, psycopg
// 2 and 3, pgbench, and the questions that Grafana and DBeaver ask when they connect.
//
// Every driver plays the same scene (see scene) and must print the same lines; PostgreSQL itself, asked directly, is the judge
// of what psql prints. A client that is not on the machine is skipped aloud; CI installs them all (.ci/run).
//
// Warning: the tests share one `spillway up`. Each client has tables of its own in it.
package clients
