// Package compose reads docker-compose.yml as Compose does, and starts the binary with exactly the commands and the environment
// written there.
//
// No container runs: a private PostgreSQL that is prepared by the file's own scripts, and the Temporal of a `spillway up`,
// stand in for those of the images, and addresses lead to them.
//
// Warning: the tests build the binary, unless SPILLWAY_BINARY names one.
package compose
