// Package reader lets readers that are not ours judge our files.
//
// The tests flush tables through internal/flush, as a role that has only its grants, and then ask DuckDB, and Apache Arrow's
// Parquet reader, what the files hold: the same rows, under the right types. Neither shares code with internal/segment.
//
// Warning: DuckDB is a C++ library, so these tests need cgo; nothing else in this module does.
package reader
