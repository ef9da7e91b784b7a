// Package sqldoc runs the examples of docs/sql.md, in the order of the page, and compares what they answer.
//
// A block that begins with ```sql is sent through the front-end of a real `spillway up`, and the ```text block behind it is what
// comes back, as psql would print it. In the expected text … stands for anything, job ids and times for any others, and the
// width of columns does not count. A job id that the page shows is the same job wherever it is shown.
//
// Comments of the page that readers do not see prepare an example: <!-- super: SQL -->, past the front-end; <!-- quiet: SQL -->,
// through it; <!-- hold: table --> and <!-- release -->, which lock a table so that a job of it cannot go on; and
// <!-- as: owner|super -->.
package sqldoc
