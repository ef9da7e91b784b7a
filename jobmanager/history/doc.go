// Package history reads ended jobs back from the ledger, for every manager: [Info] describes one, [Merge] lists them together
// with those that a manager knows to live.
//
// Warning: a job that has a row in the history has ended, whatever a manager's own back end says of it.
package history
