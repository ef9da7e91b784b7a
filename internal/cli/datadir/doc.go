// Package datadir knows the data directory of a running `spillway up`: its up.json, by which clients find it, and the lock that keeps a
// second process off.
package datadir
