// Package temporaljobs is the job manager of the product: a job is a Temporal workflow.
//
// The id of a job's workflow is a function of installation and table, so Temporal itself lets only one job change a table,
// and a job is found from its id without a search. The job's uuid is the id of the workflow's first run; later runs of a
// long job, and runs after a reset, belong to the same job.
//
// What a job was asked for and how it ended are in the ledger, what it does now is in Temporal. [Manager] puts the two
// together. Where they differ the ledger's history row wins, for it is written once.
//
// Warning: Temporal's visibility lags by some milliseconds. Lists make up for it where it matters, and the status of one job
// never depends on it.
package temporaljobs
