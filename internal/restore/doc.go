// Package restore knows how a segment's rows become rows of a table again: what the options of a RESTORE say, whether the segment's
// object is what the ledger says, which of its columns goes where, and what the rows look like in COPY. It changes nothing: the
// transaction that puts them back is RestoreSegment of internal/flush.
package restore
