// Package coldstore opens the storages that the ledger names, and looks whose they are: each has a marker of the installation and the
// database that writes to it, and nothing is written to or deleted from one that belongs to another.
package coldstore
