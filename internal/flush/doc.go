// Package flush moves rows from hot to cold: plan, chunk, residue, publish, sweep, finish. They are plain functions of a
// [Flusher] that any job manager can call in order, again after a crash, and from several processes at once.
//
// A chunk is moved by [Flusher.RunChunk] in one PostgreSQL transaction that deletes the rows, writes what PostgreSQL
// streams out to one Parquet object, and registers it. The protocol, and why each step stands where it does, is in
// docs/protocol.md.
//
// Warning: an unanswered COMMIT is neither a commit nor a rollback. Nothing here may delete an object before the attempt
// that wrote it has been condemned, and nothing may call an attempt dead because it is old.
package flush
