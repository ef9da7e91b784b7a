// Package filelock keeps a folder for one process at a time.
//
// [Acquire] takes an advisory lock (flock) on a file and writes the process id into it. The kernel releases the lock when
// the process ends, however it ends, so there is no stale lock to clean up. The file itself stays.
//
// Warning: never delete a lock file. Two processes would then lock two different files of one name.
package filelock
