// Package embedtemporal runs a real Temporal server and its Web UI inside this process.
//
// [Start] returns when a client can start workflows in the namespace. The store is a SQLite file in a folder, memory, or a
// database of PostgreSQL: [OpenPostgres] takes that for this process alone, and waits while another has it.
// Cancellation is pushed to workers, so a cancelled activity hears of it within milliseconds, without a heartbeat.
// [EnsureSearchAttributes] works on any Temporal server, embedded or not.
//
// Anybody on this machine may use the server: like Temporal's own development server it listens on loopback without
// authentication.
//
// Warning: Temporal's SQLite plugin keeps its connection to a file until the process ends, also after Stop. Starting again
// on the same folder is fine; deleting the folder and making a new one of the same name in one process is not.
package embedtemporal
