// Package cold reads the cold rows of a table from its registered segments, to print them or to compare them with others.
package cold
