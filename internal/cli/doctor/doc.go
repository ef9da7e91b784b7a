// Package doctor looks at what Spillway needs (database, ledger, storages, Temporal, clocks) as a process of it would, and says what to
// do. It changes nothing.
package doctor
