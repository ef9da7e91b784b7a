// Package main prints the licences of all modules that are linked into spillway: `go run ./tests/licences`. `make release` ships them
// beside the binary. A module without one is an error.
package main
