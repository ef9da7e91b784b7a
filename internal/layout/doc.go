// Package layout says how the rows of a table lie in files: as which columns, in which directories, in which order, and what the files
// are called. It computes and asks nobody: what a table looks like is given to it.
//
// A [Layout] is what the options of a flush say, an [Arrangement] is one that was read, with the template of its directories.
// Templates are written by users and values come from rows: whatever both hold, a file lies below its storage, and two values lie
// in two directories.
package layout
