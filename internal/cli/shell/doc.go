// Package shell runs SQL statements and psql's backslash commands, from a prompt with history and completion or from scripts.
package shell
