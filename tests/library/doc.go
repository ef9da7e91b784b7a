// Package library holds examples and nothing else: how another Go program starts, watches and kills jobs. They run against a `spillway up` of
// their own, whose database and Temporal server they find in the environment.
package library
