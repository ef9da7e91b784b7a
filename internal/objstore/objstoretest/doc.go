// Package objstoretest judges object stores.
//
// [Run] puts a store through everything that the contract in package objstore promises. A new store joins with a
// [Harness] of a few lines; a new promise becomes a subtest here, for all stores.
package objstoretest
