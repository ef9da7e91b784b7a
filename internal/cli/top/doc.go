// Package top is the live view of `spillway top`: jobs, tables and workers on the whole terminal, and keys that kill, pause and
// resume jobs. It asks the SQL front-end and nobody else.
package top
