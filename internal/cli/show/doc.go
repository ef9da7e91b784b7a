// Package show says how commands print: rows as a table, JSON or CSV; sizes, numbers, time spans and shares for people; and how
// much room a text takes at a terminal.
package show
