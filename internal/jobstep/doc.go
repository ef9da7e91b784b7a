// Package jobstep holds what the steps of jobs and those who call them say to each other: what a step is given and returns, the
// checkpoints by which it tells how far it is, the classes of the errors that it ends with, and what every manager does about those:
// how often it tries again, and what a flush owes to a busy database.
//
// Inputs and results go through workflow history: they hold ids, numbers and names of classes, and neither values of rows nor texts
// of errors. Those go into the ledger, by [NoteFailure].
package jobstep
