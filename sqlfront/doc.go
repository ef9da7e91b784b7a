// Package sqlfront turns Spillway's statements into calls of a job manager: a statement in, rows or an SQLSTATE out.
//
// A [Front] is the handler of a pgwire.Server. Everything that a statement names is looked up on the client's own
// connection, with the client's own rights. A predicate will later be run by the worker, with the worker's rights; so
// PostgreSQL reads it here first, on the client's connection, and only what is harmless in anybody's hands is taken: see
// checkPredicate.
//
// Warning: questions asked on the client's connection are asked under the client's settings. A search_path with operators
// of the client's own would make PostgreSQL lie; every check runs inside [pinned] settings.
package sqlfront
