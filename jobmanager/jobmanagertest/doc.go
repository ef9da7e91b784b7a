// Package jobmanagertest is the judge of job managers: one suite of tests that each of them has to pass.
//
// To add a manager, write a [Harness] that builds it and runs its jobs' chunks through [Work], and call [Run] from a test.
// To add a rule, write a subtest here; a fault found in one manager becomes a subtest for all.
//
// Warning: what a manager cannot do it declares in [Abilities], and the suite says aloud what it skips for that.
package jobmanagertest
