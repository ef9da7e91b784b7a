package doctor

import (
	"context"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedtemporal"
)

// examineStore looks at the store in PostgreSQL that the flags name for the embedded Temporal. It makes nothing.
func (d *doctor) examineStore(ctx context.Context) {
	const check = "Temporal store"
	opt, err := d.o.Store()
	if err != nil {
		d.failed(check, err)
		return
	}
	if opt == nil {
		return
	}
	r, err := embedtemporal.InspectPostgres(ctx, opt)
	switch {
	case err != nil:
		d.failed(check, err)
		return
	case r.Trouble != nil:
		d.failed(check, r.Trouble)
	case !r.Made:
		d.ok(check, "PostgreSQL %s, not there yet; the first start makes it %s", r.Version, r.Where)
	case r.Held:
		d.ok(check, "PostgreSQL %s, %d shards, of %s; the active process is %s", r.Version, r.Shards, r.Owner, r.Holder)
	default:
		d.ok(check, "PostgreSQL %s, %d shards, of %s; no process is active, the last was %s", r.Version, r.Shards, r.Owner, r.Holder)
	}
	if d.sharesDatabase(r) {
		d.warn("Temporal store's place", "name another database, best on another server: every step of a job writes there",
			"it is in the database that is served")
	}
}

// sharesDatabase reports whether the store is in the hot database.
func (d *doctor) sharesDatabase(r *embedtemporal.PostgresReport) bool {
	hot, err := pgx.ParseConfig(d.o.DatabaseURL)
	return err == nil && hot.Database == r.Database && net.JoinHostPort(hot.Host, strconv.Itoa(int(hot.Port))) == r.Address
}
