package ledger

import (
	"context"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Installation names this installation. One installation serves one database.
type Installation struct {
	ID   uuid.UUID
	Name string
}

// Installation returns the installation, and makes it with defaultName the first time. An empty defaultName means the
// database's name.
func (l *Ledger) Installation(ctx context.Context, defaultName string) (Installation, error) {
	_, err := l.pool.Exec(ctx, l.expand(`
		INSERT INTO @schema@.installation (name) VALUES (coalesce(nullif($1, ''), pg_catalog.current_database()::text)) ON CONFLICT DO NOTHING`), defaultName)
	if err != nil {
		return Installation{}, wrap("name the installation", err)
	}
	var i Installation
	err = l.pool.QueryRow(ctx, l.expand(`SELECT installation_id, name FROM @schema@.installation`)).Scan(&i.ID, &i.Name)
	return i, wrap("read the installation", err)
}

// Identity tells this database from its clones and from restored copies of it, as far as the server lets us ask.
type Identity struct {
	SystemIdentifier string // of the cluster; "" if the server does not say
	DatabaseOID      uint32
	Timeline         uint32 // changes when a standby or a restored copy takes over; 0 if the server does not say
}

// Origin is the identity as attempts carry it: <system identifier>/<database oid>/<timeline>.
func (i Identity) Origin() string {
	return i.SystemIdentifier + "/" + strconv.FormatUint(uint64(i.DatabaseOID), 10) + "/" + strconv.FormatUint(uint64(i.Timeline), 10)
}

// Identity asks the server who it is. pg_control_system and pg_control_checkpoint may be called by everyone unless a
// provider has taken that away; then the answer is incomplete, and no error.
func (l *Ledger) Identity(ctx context.Context) (Identity, error) {
	var id Identity
	if err := l.pool.QueryRow(ctx, `SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()`).Scan(&id.DatabaseOID); err != nil {
		return Identity{}, wrap("identify the database", err)
	}
	err := l.optional(ctx, `SELECT system_identifier::text FROM pg_catalog.pg_control_system()`, &id.SystemIdentifier)
	if err != nil {
		return Identity{}, wrap("identify the server", err)
	}
	// The control file keeps the timeline of the last checkpoint, which lags behind a promotion; WAL in use does not.
	var file, timeline string
	if err := l.optional(ctx, `SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn())`, &file); err != nil {
		return Identity{}, wrap("identify the timeline", err)
	}
	if len(file) == 24 {
		n, _ := strconv.ParseUint(file[:8], 16, 32)
		id.Timeline = uint32(n)
		return id, nil
	}
	if err := l.optional(ctx, `SELECT timeline_id::text FROM pg_catalog.pg_control_checkpoint()`, &timeline); err != nil {
		return Identity{}, wrap("identify the timeline", err)
	}
	n, _ := strconv.ParseUint(timeline, 10, 32)
	id.Timeline = uint32(n)
	return id, nil
}

// optional reads one text. A right that is missing, a function that is not there and a server in recovery are no errors.
func (l *Ledger) optional(ctx context.Context, sql string, to *string) error {
	err := l.pool.QueryRow(ctx, sql).Scan(to)
	switch state := sqlState(err); {
	case state == "42501", state == "42883", strings.HasPrefix(state, "55"), strings.HasPrefix(state, "0A"):
		return nil
	}
	return err
}
