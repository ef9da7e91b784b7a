// Package segment writes and reads one Parquet file of rows that left PostgreSQL.
//
// A [Schema] maps the columns of a table to Parquet. A [Writer] takes the bytes of a binary COPY stream, cut anywhere, and
// writes the file; [ReadFooter] and [Verify] check a file, and a [Reader] gives its rows back in PostgreSQL's own text form.
//
// A row takes three steps. The scanner finds the tuples of the stream and notes where each value lies; the encoder turns a
// batch of rows, column by column, into values; Parquet's column writers make pages of them. No step allocates per value.
//
// A Writer that is not closed has written no footer: what lies there is not a segment. The format is described in
// docs/format.md.
package segment
