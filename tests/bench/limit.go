package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// limit is PostgreSQL's own speed: each block range is deleted and streamed, in the binary format, into nothing, and
// committed. Same ranges and parallelism as the flush, but its connections are open already and it has nothing to encode,
// write or remember.
func (b *bed) limit(ctx context.Context, t table) (int64, error) {
	ranges, err := b.ranges(ctx, t)
	if err != nil {
		return 0, err
	}
	conns := make([]*pgx.Conn, min(b.cfg.parallelism, len(ranges)))
	for i := range conns {
		if conns[i], err = b.limitConn(ctx); err != nil {
			return 0, err
		}
		defer conns[i].Close(context.WithoutCancel(ctx))
	}
	return inParallel(ctx, len(conns), len(ranges), func(ctx context.Context, lane, i int) (int64, error) {
		return deleteRange(ctx, conns[lane], t, ranges[i])
	})
}

// limitConn opens a connection that reads in large steps and plans block ranges as the flush does.
func (b *bed) limitConn(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(b.workerURL())
	if err != nil {
		return nil, err
	}
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(bufio.NewReaderSize(r, 256<<10), w)
	}
	for _, name := range []string{"enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan", "enable_seqscan", "jit"} {
		cfg.RuntimeParams[name] = "off"
	}
	return pgx.ConnectConfig(ctx, cfg)
}

func deleteRange(ctx context.Context, conn *pgx.Conn, t table, r [2]int64) (int64, error) {
	if err := execAll(ctx, conn, "BEGIN", "SET LOCAL synchronous_commit = on"); err != nil {
		return 0, err
	}
	tag, err := conn.PgConn().CopyTo(ctx, io.Discard, "COPY (DELETE FROM ONLY app."+t.name+" WHERE "+inRange(r)+" RETURNING *) TO STDOUT (FORMAT binary)")
	if err != nil {
		return 0, fmt.Errorf("copy out: %w", err)
	}
	return tag.RowsAffected(), execAll(ctx, conn, "COMMIT")
}

// inRange is a block range as a condition.
func inRange(r [2]int64) string {
	where := fmt.Sprintf("ctid >= '(%d,0)'", r[0])
	if r[1] != 0 {
		where += fmt.Sprintf(" AND ctid < '(%d,0)'", r[1])
	}
	return where
}
