// Package disktest is a disk in memory that loses power: it keeps what was synced, of files and of the entries of folders apart, and of the
// rest what chance keeps. It also fails as disks do. Disk is what a local store of package objstore is opened on.
//
// It promises less than any file system of today: an entry is durable only when its own folder was synced, and what was written without
// a sync may come back in parts.
package disktest
