package top

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

const (
	feedPatience = 5 * time.Second  // how long a look may take
	actPatience  = 30 * time.Second // how long a KILL, PAUSE or RESUME may take
	mostRows     = 500              // rows of one list
)

// source is where the view has its rows from, and who carries out what its keys ask for.
type source interface {
	jobs(ctx context.Context) ([]sqlclient.Row, error)
	workers(ctx context.Context) ([]sqlclient.Row, error)
	tables(ctx context.Context) ([]sqlclient.Row, error)
	act(ctx context.Context, verb, jobID string) error // KILL, PAUSE, RESUME
}

// feed asks the front-end in SQL, as every client command does. Looks and deeds have connections of their own: a table
// that somebody locks whole keeps the reader of its size waiting, and that may not hold up the list of jobs or a KILL.
type feed struct{ main, sizes, deeds line }

func newFeed(dial func(context.Context) (*sqlclient.Client, error)) *feed {
	return &feed{main: line{dial: dial}, sizes: line{dial: dial}, deeds: line{dial: dial}}
}

func (f *feed) close() {
	for _, l := range []*line{&f.main, &f.sizes, &f.deeds} {
		l.hangUp()
	}
}

// jobs are those that live, and those that ended in the last hour.
func (f *feed) jobs(ctx context.Context) ([]sqlclient.Row, error) {
	return f.main.look(ctx, "jobs", `SELECT job_id, target, status, phase, progress, rows_total, rows_flushed, bytes_written, segments, chunks_done, chunks_total,
		attempt, error, error_class, requested_by, statement, created_at, started_at, finished_at, ui_url,
		extract(epoch FROM now() - created_at)::bigint AS age, extract(epoch FROM now() - finished_at)::bigint AS ended
	FROM %s WHERE finished_at IS NULL OR finished_at > now() - interval '1 hour'
	ORDER BY finished_at IS NOT NULL, created_at DESC, job_id`)
}

func (f *feed) workers(ctx context.Context) ([]sqlclient.Row, error) {
	return f.main.look(ctx, "workers", `SELECT identity, host, pid, status, slots_used, slots_total, version,
		extract(epoch FROM now() - started_at)::bigint AS age, extract(epoch FROM now() - last_seen_at)::bigint AS silent
	FROM %s ORDER BY host, pid, identity`)
}

func (f *feed) tables(ctx context.Context) ([]sqlclient.Row, error) {
	return f.sizes.look(ctx, "tables", `SELECT table_schema || '.' || table_name AS name, bytes_hot, rows_dead, rows_cold, bytes_cold, segments,
		extract(epoch FROM now() - last_flush_at)::bigint AS flushed
	FROM %s ORDER BY bytes_hot DESC NULLS LAST, 1`)
}

func (f *feed) act(ctx context.Context, verb, jobID string) error {
	return f.deeds.with(ctx, actPatience, func(ctx context.Context, c *sqlclient.Client) error {
		_, err := c.Rows(ctx, verb+" JOB "+sqlclient.Literal(jobID))
		return err
	})
}

// line is a connection that is made when it is needed, and again after it was lost.
type line struct {
	dial  func(context.Context) (*sqlclient.Client, error)
	mu    sync.Mutex
	c     *sqlclient.Client
	views map[string]string
}

// look reads a view.
func (l *line) look(ctx context.Context, view, query string) (rows []sqlclient.Row, err error) {
	err = l.with(ctx, feedPatience, func(ctx context.Context, c *sqlclient.Client) error {
		if l.views[view] == "" {
			name, err := c.View(ctx, view)
			if err != nil {
				return err
			}
			l.views[view] = name
		}
		rows, err = c.Rows(ctx, fmt.Sprintf(query, l.views[view])+fmt.Sprintf(" LIMIT %d", mostRows))
		return err
	})
	return rows, err
}

// with lends the connection. An answer of the server leaves it as it is; anything else ends it.
func (l *line) with(ctx context.Context, patience time.Duration, use func(context.Context, *sqlclient.Client) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if l.c == nil {
		c, err := l.dial(ctx)
		if err != nil {
			return err
		}
		l.c, l.views = c, map[string]string{}
	}
	err := use(ctx, l.c)
	var answer *pgconn.PgError
	if err != nil && (!errors.As(err, &answer) || l.c.Conn.IsClosed()) {
		l.c.Close()
		l.c = nil
	}
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("no answer within %s", patience)
	}
	return err
}

func (l *line) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c != nil {
		l.c.Close()
		l.c = nil
	}
}
