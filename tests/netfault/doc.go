// Package netfault is a TCP proxy that does what bad networks do: delay, throttle, cut, half-close, swallow, and, on
// PostgreSQL's wire, lose exactly the answer to a COMMIT.
//
// [New] listens before one upstream. [Proxy.Set] says what befalls every connection from then on, [Proxy.Cut] ends those
// there are, [Proxy.LoseCommits] waits for COMMIT messages.
//
// Warning: bytes of TLS cannot be read, so LoseCommits needs connections without it.
package netfault
