// Package jobmanager is the contract between those who ask for work and those who run it.
//
// A [JobManager] starts, cancels, describes and lists jobs; [Pauser] and [Waiter] are optional abilities. A job is what
// a user asked for: one flush of one table, for example. The package knows no job type by name. Rules that every manager
// shares live here and not in the managers: [JobID] and its text form, [Status] and the transitions between statuses, the
// canonical form of a [JobSpec], and the errors.
//
// Warning: a terminal status is final. A manager that can report a completed job as cancelled later, or the reverse, is
// broken.
package jobmanager
