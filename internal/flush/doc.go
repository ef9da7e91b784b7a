// Package flush moves rows from hot to cold and back: plan, chunk, residue, publish, sweep, finish. They are plain functions of a
// [Flusher] that any job manager can call in order, again after a crash, and from several processes at once.
// Verify and clean-up are planned and run in the same way by internal/upkeep.
//
// A chunk is moved by [Flusher.RunChunk] in one PostgreSQL transaction that deletes the rows, writes what PostgreSQL
// streams out to Parquet objects, and registers them; [Flusher.RestoreSegment] is the way back. The protocol, and why each step
// stands where it does, is in docs/protocol.md.
//
// Warning: an unanswered COMMIT is neither a commit nor a rollback. Nothing here may delete an object before the attempt
// that wrote it has been condemned, and nothing may call an attempt dead because it is old.
package flush
