// Package temporalconn connects to Temporal, and says of a connection that does not come about what to do.
package temporalconn
