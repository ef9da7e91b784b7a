// Package progress tells how far jobs are: what a job counts, how much of it is done, how fast it goes and how long it still takes.
// It reads rows of system.jobs, as the front-end gives them.
package progress
