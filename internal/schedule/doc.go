// Package schedule does what is due when a schedule fires: it reads what that is in the ledger, asks again whether its creator
// still may, starts the jobs and waits for their ends. When schedules fire is not its business.
//
// [Runner.Run] may be called again after a crash, with the [Progress] of the try before: it finds the same jobs.
//
// Warning: a run starts jobs as every user does, by StartJob, and obeys one job per table. It waits for its turn; it never
// takes it.
package schedule
