package hot

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Probe asks the database for a sign of life, on a connection of its own: a pool that is merely busy must not look like an
// outage.
type Probe struct {
	cfg *pgx.ConnConfig

	mu   sync.Mutex
	conn *pgx.Conn // nil: none yet, or the last one broke
}

// NewProbe makes a Probe. It connects when it is first asked.
func (db *DB) NewProbe() *Probe {
	return &Probe{cfg: db.pool.Config().ConnConfig}
}

// Ping returns nil if the database answers. Otherwise the error is *ConnectError, and the next Ping connects anew.
func (p *Probe) Ping(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		conn, err := pgx.ConnectConfig(ctx, p.cfg.Copy())
		if err != nil {
			return connectError(err)
		}
		p.conn = conn
	}
	err := p.conn.Ping(ctx)
	if err == nil {
		return nil
	}
	p.hangUp(ctx)
	return connectError(err)
}

// Close ends the connection. It may be called twice.
func (p *Probe) Close(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hangUp(ctx)
}

func (p *Probe) hangUp(ctx context.Context) {
	if p.conn != nil {
		_ = p.conn.Close(ctx) // of a server that is gone, perhaps
		p.conn = nil
	}
}
