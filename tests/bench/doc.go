// Command bench measures Spillway beside its limit or its peers and prints one table; docs/benchmarks.md says what each
// figure means and how to read it. `make bench` runs it.
//
// It starts a private PostgreSQL with full durability. Before every timed run the table is made anew, identically, and
// the server is checkpointed; contestants alternate within a round; each figure is the median of the rounds with the
// lowest and highest beside it. A ratio is the median of the ratios within the rounds, so that a noisy neighbour spoils
// one round and not the comparison.
//
// Warning: times of different runs of this program are not comparable, least of all from different machines. Ratios are.
package main
