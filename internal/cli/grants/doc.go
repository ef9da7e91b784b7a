// Package grants writes the script that gives Spillway's worker its rights, and readers and operators theirs.
package grants
