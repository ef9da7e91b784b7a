// Package activities puts the flush steps of internal/flush on Temporal: heartbeats around them, error classes behind them,
// nothing else.
//
// [Activities] has one method per step. A running chunk sends a [Checkpoint] with every heartbeat, from which its next
// attempt learns which attempt came before it. Errors reach workflow history as a class name, an SQLSTATE and a chunk
// number; their texts, which may name rows and values, stay in the ledger.
//
// Warning: a stop is not a failure. An activity whose context ends reports a cancel only if its job was cancelled; a
// worker that stops reports a retryable error, so that the chunk goes on elsewhere.
package activities
