// Package sweep settles attempts that did not report their end: it condemns them, and removes what those left behind in storages that can
// never commit (docs/protocol.md).
//
// Warning: an unanswered COMMIT is neither a commit nor a rollback. Nothing here may delete an object before the attempt that wrote
// it has been condemned, nothing may call an attempt dead because it is old, and nothing of an attempt that another database made is
// deleted.
package sweep
