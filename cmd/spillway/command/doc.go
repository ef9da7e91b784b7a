// Package command is the command line: one file per command, each with a constructor that takes the [Env] it may touch.
//
// It is also the only place that picks implementations and wires them: node.go builds what a process runs, from the
// pieces that the other rooms provide. Client commands are SQL: each renders a statement, sends it to the front-end over
// the wire and prints the rows.
//
// Warning: an error is printed once, by [Run]. Commands return errors and print none.
package command
