// Package upkeep looks after what is cold: VERIFY reads segments back and lists objects that nothing explains, CLEANUP removes what
// attempts left behind that can never commit, and objects that were named and are stray. Both are planned and run in chunks, as a
// flush is, and by the same managers; doing a chunk twice does no harm, so it needs no attempt of its own.
package upkeep
