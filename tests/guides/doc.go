// Package guides holds a test and nothing else: it runs the pages of docs/guides from top to bottom, as a reader would type
// them, and compares what they show with what is printed.
package guides
