// Package cluster runs front and worker as processes against a Temporal that stands in for a cluster: behind TLS, behind an
// API key, with rights that are missing.
//
// Its gateway is a proxy for any gRPC service; the Temporal behind it is that of a `spillway up` on another database.
//
// Warning: the tests build the binary, unless SPILLWAY_BINARY names one.
package cluster
