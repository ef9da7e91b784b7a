// Package steptest holds the steps of a flush and a ledger in memory, for managers that are built on internal/flush: their
// harness hands [Steps] to the manager under test, which then does what [jobmanagertest.Work] says.
//
// Warning: it keeps the promises that managers rely on, and nothing of the protocol that moves rows.
package steptest
