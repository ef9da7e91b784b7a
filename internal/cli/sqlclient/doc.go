// Package sqlclient is how commands talk to the SQL front-end: one connection, statements as texts, rows as texts, and the server's
// answers as errors that show the place in the statement and which name was probably meant.
package sqlclient
