// Package pgwire stands between PostgreSQL's clients and PostgreSQL, and answers some statements itself.
//
// A [Server] relays start-up, authentication and every message of both protocols, raw, to one PostgreSQL server. A
// [Handler] makes a [Session] for each client that PostgreSQL has let in; a text that the session claims is a [Statement],
// run here; it may ask PostgreSQL on the client's own connection, with the client's own rights, through an [Upstream].
// The transaction status that a client sees is always PostgreSQL's.
//
// A message with several statements, ours among them, is taken apart and stays one transaction (docs/decisions, "the wire").
//
// How answers keep their order: a queue holds the replies that PostgreSQL still owes. Before a statement of ours is
// answered, PostgreSQL is asked to flush, and the queue must be empty.
//
// Warning: to PostgreSQL every client seems to come from the proxy's address. A pg_hba.conf that trusts that address
// trusts every client of the proxy, and peer would take all of them for the proxy's own account.
package pgwire
