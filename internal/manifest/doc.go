// Package manifest writes manifest.json, by which readers without PostgreSQL find the cold segments of a table (docs/format.md). It is
// a copy of the ledger and never the truth: whatever a file said before is replaced as a whole, and anybody may write it again.
package manifest
