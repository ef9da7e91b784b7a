package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// operator starts, holds and ends jobs through the front-end, as people and scripts would.
type operator struct {
	g    *rig
	r    *rand.Rand
	conn *pgx.Conn
}

func (o *operator) run(round uint64, stop <-chan struct{}) {
	o.r = rand.New(rand.NewPCG(o.g.seed, round<<8|200))
	defer o.close()
	for {
		select {
		case <-stop:
			return
		default:
		}
		o.act()
		pause(stop, time.Duration(20+o.r.IntN(200))*time.Millisecond)
	}
}

func (o *operator) act() {
	tb := o.g.tables[o.r.IntN(len(o.g.tables))]
	k := o.r.IntN(100)
	options := o.options(tb)
	where := fmt.Sprintf(" WHERE id %% %d <> %d", 2+o.r.IntN(5), o.r.IntN(2))
	if o.r.IntN(2) == 0 {
		where = ""
	}
	switch {
	case k < 55:
		o.say("FLUSH", fmt.Sprintf("FLUSH TABLE %s WITH (%s)%s", tb, options, where))
	case k < 70:
		o.say("RESTORE", fmt.Sprintf("RESTORE TABLE %s WITH (parallelism = %d)%s", tb, 1+o.r.IntN(3), where))
	case k < 74:
		o.say("VERIFY", fmt.Sprintf("VERIFY TABLE %s", tb))
	case k < 77:
		o.say("CLEANUP", "CLEANUP")
	case k < 84: // the steps of a job that failed often wait long: killing it lets another begin
		o.some("KILL JOB")
	case k < 88:
		o.some("PAUSE JOB")
	default:
		o.some("RESUME JOB")
	}
}

// options are those of a flush. Chunks are small, so that a fault finds some of them done and some not.
func (o *operator) options(tb *table) string {
	list := []string{"chunk_bytes = '64kB'", fmt.Sprintf("parallelism = %d", 1+o.r.IntN(4))}
	if o.r.IntN(5) == 0 {
		list = append(list, "order_by = (v DESC)")
	}
	if o.r.IntN(6) == 0 {
		list = append(list, "file_bytes = '64kB'")
	}
	if o.r.IntN(4) == 0 {
		list = append(list, "verify = full")
	}
	if o.r.IntN(4) == 0 {
		list = append(list, "vacuum = true")
	}
	return strings.Join(list, ", ")
}

// some does something to one of the live jobs.
func (o *operator) some(what string) {
	n := o.r.Uint32() // drawn in any case, so that the sequence does not depend on how many jobs there are
	jobs, err := o.live()
	if err != nil {
		o.failed(err)
		return
	}
	if len(jobs) > 0 {
		o.say(strings.Fields(what)[0], what+" "+literal(jobs[int(n)%len(jobs)]))
	}
}

func (o *operator) live() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if err := o.connect(ctx); err != nil {
		return nil, err
	}
	rows, err := o.conn.Query(ctx, "SELECT job_id FROM system.jobs WHERE finished_at IS NULL ORDER BY job_id")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// say sends a statement. Many are refused: the table has a job already, or the job has ended.
func (o *operator) say(kind, statement string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patient)
	defer cancel()
	err := o.connect(ctx)
	if err == nil {
		_, err = o.conn.Exec(ctx, statement)
	}
	if err != nil {
		o.failed(err)
		return false
	}
	o.g.count("said "+kind, 1)
	return true
}

// try sends a statement and returns the SQLSTATE of the answer: "" is success, "08000" no answer.
func (o *operator) try(statement string) string {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	err := o.connect(ctx)
	if err == nil {
		_, err = o.conn.Exec(ctx, statement)
	}
	var pgErr *pgconn.PgError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &pgErr):
		return pgErr.Code
	}
	return "08000"
}

func (o *operator) failed(err error) {
	o.g.sqlstate("operator", err)
	if o.conn != nil && o.conn.IsClosed() {
		o.conn = nil
	}
}

func (o *operator) connect(ctx context.Context) (err error) {
	if o.conn != nil && !o.conn.IsClosed() {
		return nil
	}
	o.conn, err = pgx.Connect(ctx, o.g.front(o.g.db.SuperURL))
	return err
}

func (o *operator) close() {
	if o.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = o.conn.Close(ctx) // the front-end may be gone
	o.conn = nil
}
