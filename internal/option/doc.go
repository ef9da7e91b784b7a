// Package option reads the values of what follows WITH: numbers, sizes, times, switches. An error says what is expected; [Error] is
// that of a whole statement, with the option that is at fault.
package option
