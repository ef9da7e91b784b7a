// Package roundtrip moves random tables of all types and reads them back in every way there is.
//
// A table is made from a seed: its columns, types in types, odd names, NULLs and values at their limits. It takes the steps of
// [steps], in order: the flush with the product's own steps, Spillway's reader, the same text through COPY into an empty table,
// and DuckDB. Each compares every value of every row with what PostgreSQL printed before. Whatever else can move or read a table
// belongs there as one more step.
//
// A failure names its seed. SPILLWAY_ROUNDTRIP_SEED makes that table alone, and SPILLWAY_ROUNDTRIP_TABLES says how many others are
// made: 30 unless it is set, 500 by `make roundtrip`.
package roundtrip
