// Package words compares what somebody typed with the names that there are.
package words
