// Package backing is what stands behind the SQL front-end: it answers the front-end's questions about tables, storages, schedules,
// policies and workers from the ledger, from a look at the tables, and from Temporal, in the front-end's words.
package backing
