// Package worker builds and runs one Temporal worker of an installation: every workflow and activity is registered here.
//
// A [Worker] polls two task queues. Workflows and short activities are on one; chunks are on the other, where the worker
// takes no more at once than it has slots. So a job can be planned, ended and recorded while every slot is busy.
//
// Warning: Stop waits for running chunks for as long as Options.ShutdownTimeout says. Ending the process instead is safe
// for the rows, but each chunk starts again from its beginning, and only after its heartbeat timeout.
package worker
