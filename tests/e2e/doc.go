// Package e2e runs the product as people do: the binary, real processes, psql's wire, a real Temporal server, PostgreSQL.
//
// Tests share one `spillway up` where they leave it alone, each with a table of its own; those that kill, freeze or starve a
// process start their own. Every table is audited when its test ends: each row is hot or cold, once, and no object lies about.
//
// What has to happen "in the middle" of something is held there by a gate: a trigger that waits, in PostgreSQL, until the
// test lets it pass. So nothing here depends on how fast a machine is.
//
// Warning: a test that waits for an event uses until, with a deadline for machines that are very slow; none sleeps.
// Tables of the shared database keep their names, so a test runs once per process: repeat with a loop around go test, not -count.
package e2e
