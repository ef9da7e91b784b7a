// Package reader lets a reader that is not ours judge our files.
//
// The tests flush tables through internal/flush, as a role that has only its grants, and then ask DuckDB what the files
// hold: the same rows, under the right types. DuckDB shares no code with internal/segment.
//
// Warning: DuckDB is a C++ library, so these tests need cgo; nothing else in this module does.
package reader
