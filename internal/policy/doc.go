// Package policy knows when a table flushes by itself: what a policy says, when a table is due, and how long a table rests
// whose flush keeps failing.
package policy
