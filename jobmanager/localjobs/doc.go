// Package localjobs runs jobs in this process, without a server: a [Manager] is a registry of jobs, and a job is a goroutine
// with a mailbox.
//
// The goroutine owns the job's whole state; cancel, pause, resume and status are messages to it, and so is what its chunks
// report. The steps are internal/flush's, the end of a job is a row of the ledger, and the policy of retries is the one of
// workflows. Other processes see a job by its claim on the table; they cannot change it.
//
// Warning: a job ends with its process. One that was cut off is closed by whoever comes next, as failed, with the class
// interrupted; the rows that it moved stay cold, and the next flush takes the others.
package localjobs
