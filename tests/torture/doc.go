// Package torture runs the product as processes, ends and freezes them at random, breaks their network and their storage, and
// asks after every round whether each row is there exactly once.
//
// TestTorture is one run for each seed. Clients insert, update, delete and read sums, an operator starts, pauses, kills and
// resumes jobs, and a supervisor starts again what died. A model knows what must exist: a write without an answer is fenced
// and looked up, so the model is exact. TestNetwork takes the links between the processes one by one; TestSoak flushes for
// a long time and looks for what grows. What was really run is in results/, and docs/reliability.md sums it up.
//
// Warning: a seed fixes what is done, in which order; when things happen is up to the machine.
package torture
