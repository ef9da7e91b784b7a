// Package embedpg runs a private PostgreSQL server from the binaries that the machine has.
//
// [Start] finds the binaries, makes a cluster where there is none, and returns when the [Server] accepts connections. The
// server listens on loopback only and asks everybody for a password; the superuser's is made at random and kept, mode
// 0600, in the folder. PostgreSQL refuses to run as root, so under root the server runs as the account "postgres" or
// "nobody", which must be able to reach the folder.
//
// The folder holds: pgdata (the cluster), password, postgres.log, sock (the socket) and lock. One process at a time uses a
// folder. A server that outlived a killed parent is stopped first and started anew: only then are its port, its settings
// and its end in our hands.
//
// Warning: the cluster belongs to the version of PostgreSQL that made it. Start looks for binaries of that major version.
package embedpg
