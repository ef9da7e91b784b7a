// Package fail holds the errors that every command knows: a command line that makes no sense, a server that cannot be reached, an
// interrupt; and puts to an error what to do about it. What an error means for the process is decided in package command.
package fail
