package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// client is an application that writes rows of its own: no other client touches their ids, so that it knows what they are.
type client struct {
	g    *rig
	n    int
	url  func() string
	conn *pgx.Conn
	r    *rand.Rand

	op   int64 // number of the last operation
	ids  []map[int64]int64
	list [][]int64 // ids in the order of their making, some of them gone
}

const (
	opsOfClient = 1_000_000_000
	// patient is how long a write may take before the client gives up on its connection. Faults hold locks for some seconds.
	patient = 20 * time.Second
)

func newClient(g *rig, n int, url func() string) *client {
	c := &client{g: g, n: n, url: url, op: int64(n) * opsOfClient}
	for range g.tables {
		c.ids, c.list = append(c.ids, map[int64]int64{}), append(c.list, nil)
	}
	return c
}

// run writes until stop is closed. What it does is up to the round's seed; how much of it up to time.
func (c *client) run(round uint64, stop <-chan struct{}) {
	c.r = rand.New(rand.NewPCG(c.g.seed, round<<8|uint64(c.n)))
	for {
		select {
		case <-stop:
			c.close()
			return
		default:
		}
		at := c.r.IntN(len(c.g.tables))
		switch k := c.r.IntN(20); {
		case k < 9:
			c.write(at, c.fresh(1+c.r.IntN(60)), c.g.tables[at].insert(), false)
		case k < 14:
			c.write(at, c.some(at, 1+c.r.IntN(10)), c.g.tables[at].update(), false)
		case k < 16:
			c.write(at, c.some(at, 1+c.r.IntN(10)), c.g.tables[at].delete(), true)
		case k < 17:
			c.rollback(at)
		case k < 19:
			c.sum(at)
		default:
			pause(stop, time.Duration(c.r.IntN(50))*time.Millisecond)
		}
		pause(stop, c.g.breath)
	}
}

// pause waits, or returns early when stop is closed.
func pause(stop <-chan struct{}, d time.Duration) {
	select {
	case <-stop:
	case <-time.After(d):
	}
}

func (c *client) fresh(n int) (ids []int64) {
	for i := range n {
		ids = append(ids, (c.op+1)*100+int64(i))
	}
	return ids
}

// some picks different rows, recent ones more often: they are hot.
func (c *client) some(at, n int) (ids []int64) {
	list, seen := c.list[at], map[int64]bool{}
	for range n {
		if len(list) == 0 {
			break
		}
		k := len(list) - 1 - c.r.IntN(min(len(list), 500))
		if c.r.IntN(4) == 0 {
			k = c.r.IntN(len(list))
		}
		if id := list[k]; !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

// write runs a recorded statement and enters what it did in the model.
func (c *client) write(at int, ids []int64, statement string, gone bool) {
	if len(ids) == 0 {
		return
	}
	c.op++
	versions := make([]int64, len(ids))
	for i := range ids {
		versions[i] = c.op*100 + int64(i)
	}
	done, err := c.attempt(statement, ids, versions, at)
	if err != nil {
		done = c.resolve(err)
	}
	hit := map[int64]bool{}
	for _, id := range done {
		hit[id] = true
	}
	for i, id := range ids {
		if !hit[id] {
			continue
		}
		if gone {
			delete(c.ids[at], id)
			continue
		}
		if _, there := c.ids[at][id]; !there {
			c.list[at] = append(c.list[at], id)
		}
		c.ids[at][id] = versions[i]
	}
	c.g.count("writes", int64(len(done)))
}

func (c *client) attempt(statement string, ids, versions []int64, at int) (done []int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if err := c.connect(ctx); err != nil {
		return nil, err
	}
	err = c.conn.QueryRow(ctx, statement, ids, versions, c.op, c.g.tables[at].number).Scan(&done)
	return done, err
}

func (c *client) connect(ctx context.Context) (err error) {
	if c.conn != nil && !c.conn.IsClosed() {
		return nil
	}
	c.conn, err = pgx.Connect(ctx, c.url())
	return err
}

// resolve finds out what became of the last operation. A row with its number fences it: if the operation's transaction is
// still open, the INSERT waits for its end; if it committed, its own row is found; and if it did not, it never will.
func (c *client) resolve(err error) (done []int64) {
	c.g.sqlstate("client", err)
	c.g.count("unanswered", 1)
	deadline := time.Now().Add(patience)
	for {
		if done, err = c.fence(); err == nil {
			return done
		}
		if time.Now().After(deadline) {
			c.g.fail("client %d cannot find out what became of operation %d: %v", c.n, c.op, err)
			return nil
		}
		c.close()
		time.Sleep(100 * time.Millisecond) // no event says that a server is back
	}
}

func (c *client) fence() (done []int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if err := c.connect(ctx); err != nil {
		return nil, err
	}
	if _, err = c.conn.Exec(ctx, "INSERT INTO app.acks (op, tbl, delta, ids) VALUES ($1, 0, 0, '{}') ON CONFLICT DO NOTHING", c.op); err != nil {
		return nil, err
	}
	err = c.conn.QueryRow(ctx, "SELECT ids FROM app.acks WHERE op = $1", c.op).Scan(&done)
	return done, err
}

// rollback changes rows and takes it back.
func (c *client) rollback(at int) {
	c.op++
	parts := [][]int64{c.fresh(5), c.some(at, 5)}
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	err := c.connect(ctx)
	if err == nil {
		_, err = c.conn.Exec(ctx, "BEGIN")
	}
	for i, statement := range []string{c.g.tables[at].insert(), c.g.tables[at].delete()} {
		if err == nil {
			_, err = c.conn.Exec(ctx, statement, parts[i], parts[i], -c.op*10-int64(i), c.g.tables[at].number)
		}
	}
	if err == nil {
		_, err = c.conn.Exec(ctx, "ROLLBACK")
	}
	if err != nil {
		c.g.sqlstate("client", err)
		c.close()
	}
}

// sum reads hot and cold in one snapshot (A13).
func (c *client) sum(at int) {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	var hot, cold, want int64
	err := c.connect(ctx)
	if err == nil {
		err = c.conn.QueryRow(ctx, c.g.tables[at].sums()).Scan(&hot, &cold, &want)
	}
	if err != nil {
		c.g.sqlstate("client", err)
		c.close()
		return
	}
	c.g.count("sums", 1)
	if hot+cold != want {
		c.g.fail("one snapshot of %s: %d hot and %d cold rows, %d were inserted and not deleted", c.g.tables[at], hot, cold, want)
	}
}

func (c *client) close() {
	if c.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx) // the server may be gone
	c.conn = nil
}

// tally counts what happened, by name.
type tally struct {
	mu     sync.Mutex
	counts map[string]int64
}

func (y *tally) count(name string, n int64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.counts == nil {
		y.counts = map[string]int64{}
	}
	y.counts[name] += n
}

func (y *tally) of(name string) int64 {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.counts[name]
}

// sqlstate counts an error by its SQLSTATE. Those that no fault explains are failures.
func (g *rig) sqlstate(who string, err error) {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		g.count("error "+who+" connection", 1)
		return
	}
	g.count(fmt.Sprintf("error %s %s", who, pgErr.Code), 1)
	switch pgErr.Code {
	case "23505", "40P01", "25P02", "42601", "42P01":
		g.fail("%s got an error that nothing explains: %s %s (%s; %s)", who, pgErr.Code, pgErr.Message, pgErr.Detail, pgErr.Where)
	}
	if pgErr.Code[:2] == "XX" && pgErr.Code != "XX001" {
		g.fail("%s got an internal error: %s %s", who, pgErr.Code, pgErr.Message)
	}
}

func (y *tally) set(name string, n int64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.counts == nil {
		y.counts = map[string]int64{}
	}
	y.counts[name] = n
}
