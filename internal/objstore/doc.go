// Package objstore keeps immutable objects under keys: segments, manifests and the marker of their owner.
//
// [Open] turns a location into a [Store]. An object is written aside through a [Writer] and appears under its key, whole
// and durable, when Commit returns; a key that is taken stays as it is. Package objstoretest holds the conformance suite
// that every store passes.
//
// Warning: Delete and DeletePrefix ask nobody. Only the ledger knows which objects are in use.
package objstore
