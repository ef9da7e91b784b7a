// Package hot speaks with the database whose rows are flushed: it looks at a table and says why it must be left alone
// ([DB.Inspect], [Table.Refusals]), and moves rows out of it and back into it ([Session]).
//
// Everything here works as an unprivileged role that has only its grants. Names are always quoted, and search_path is
// empty on every connection, so that no object of a user stands before PostgreSQL's own.
//
// Warning: what Inspect says holds only as long as somebody holds a lock on the table. Look again after locking, and
// compare by [SameShape].
package hot
