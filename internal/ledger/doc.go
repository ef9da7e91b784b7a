// Package ledger keeps the truth about segments: the tables of the schema spillway in the user's own database, and the
// views of the schema system that people read.
//
// A [Ledger] is made over a pool by [New] and brought up to date by [Ledger.Migrate]. What the move of a chunk writes takes
// a [Querier], so that it happens inside the transaction that removes the rows; everything else is one short statement of
// its own and may be repeated after an unknown outcome.
//
// Warning: rows of attempts and chunks decide whether objects may be deleted. Only [Ledger.Condemn] may conclude anything
// from a row that is missing.
package ledger
