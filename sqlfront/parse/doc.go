// Package parse reads Spillway's own statements: FLUSH, KILL, PAUSE, SHOW JOBS and their kin.
//
// [Classify] tells cheaply whether a text is one of ours; [Parse] returns its tree, a [Statement] whose String parses back
// to the same tree; [Split] cuts a text at its semicolons; [NearMiss] guesses what a mistyped verb was meant to be. The
// scanner quotes as PostgreSQL does. A predicate is not understood here: PostgreSQL itself judges it. This package only
// makes sure that it ends where the statement ends.
//
// Warning: positions count characters from 1, as in PostgreSQL's error fields, and not bytes.
package parse
