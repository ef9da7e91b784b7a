// Package workflows holds spillway's Temporal workflows: the order of steps, retries, timeouts, what to do when a job is
// cancelled or fails. What the steps do is in internal/flush, behind package activities.
//
// There is one workflow for each kind of job: [FlushJob], [RestoreJob], [VerifyJob], [CleanupJob].
// names.go holds every name that is shared with those who start and watch workflows: workflow ids, task queues, search
// attributes, queries.
//
// Warning: history is read by every version of this code that comes after. It holds names of tables, numbers and error
// classes; never a predicate, a value or the text of an error. A change to the order of commands needs workflow.GetVersion;
// testdata/replay holds histories that show whether it does.
package workflows
