// Package pgtest gives tests a PostgreSQL server and databases of their own.
//
// [Database] is what most tests want: a fresh database on a server that the test process shares, with the roles that the
// product meets in real life: an owner of the application's tables and a worker that is allowed almost nothing. [Own]
// gives a private server to tests that kill or restart it. A package that uses either has
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
// Warning: the shared server runs without fsync. Only its durability is cheapened; locks, isolation and errors are the
// real ones. A test of durability uses Own.
package pgtest
