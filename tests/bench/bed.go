package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg"
	"github.com/spillwaydb/spillway/internal/hot"
)

const (
	database   = "bench"
	ownerRole  = "app"
	workerRole = "spillway_worker"
	blockSize  = 8192
)

// settings are those of a sane production server, the same for every contestant. Autovacuum is off because it would visit
// some rounds and not others; checkpoints are far apart for the same reason, and one comes before each timed run.
func settings() map[string]string {
	return map[string]string{
		"shared_buffers":       "1GB",
		"min_wal_size":         "4GB", // WAL files are used again: no run pays for making them
		"max_wal_size":         "32GB",
		"checkpoint_timeout":   "1h",
		"maintenance_work_mem": "256MB",
		"max_connections":      "200",
		"autovacuum":           "off",
		"fsync":                "on",
		"synchronous_commit":   "on",
		"full_page_writes":     "on",
	}
}

// bed is a private server with the benchmark's tables, and a folder for files.
type bed struct {
	cfg      config
	srv      *embedpg.Server
	super    *pgx.Conn // to the database, for set-up and checks
	password string    // of both roles
	dir      string
	keepDir  bool
	started  time.Time
	spillway string // the binary, once built
	s3       *s3Server
}

func openBed(ctx context.Context, cfg config) (*bed, error) {
	b := &bed{cfg: cfg, started: time.Now(), password: rand.Text(), keepDir: cfg.dir != ""}
	if err := b.makeDir(); err != nil {
		return nil, err
	}
	opt := &embedpg.Options{Settings: settings()}
	if b.keepDir {
		opt.DataDir = filepath.Join(b.dir, "postgres")
	}
	var err error
	if b.srv, err = embedpg.Start(ctx, opt); err != nil {
		return nil, errors.Join(err, b.removeDir())
	}
	if err := b.prepare(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bed) makeDir() error {
	if b.keepDir {
		dir, err := filepath.Abs(b.cfg.dir)
		b.dir = dir
		if err != nil {
			return err
		}
		return os.MkdirAll(dir, 0o755)
	}
	dir, err := os.MkdirTemp("", "spillway-bench-")
	b.dir = dir
	return err
}

func (b *bed) removeDir() error {
	if b.keepDir {
		return nil
	}
	return os.RemoveAll(b.dir)
}

func (b *bed) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	if b.super != nil {
		err = b.super.Close(ctx)
	}
	if b.s3 != nil {
		b.s3.stop()
	}
	return errors.Join(err, b.srv.Stop(ctx), b.removeDir())
}

// prepare makes the database, an owner of the tables and a worker's role with nothing but its grants.
func (b *bed) prepare(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, b.srv.SuperURL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = execAll(ctx, conn,
		"DROP DATABASE IF EXISTS "+database,
		"DROP ROLE IF EXISTS "+ownerRole,
		"DROP ROLE IF EXISTS "+workerRole,
		"CREATE ROLE "+ownerRole+" LOGIN PASSWORD '"+b.password+"'",
		"CREATE ROLE "+workerRole+" LOGIN PASSWORD '"+b.password+"'",
		"CREATE DATABASE "+database+" OWNER "+ownerRole)
	if err != nil {
		return err
	}
	if b.super, err = pgx.Connect(ctx, b.srv.SuperURL(database)); err != nil {
		return err
	}
	return execAll(ctx, b.super,
		"SET synchronize_seqscans = off", // every copy in the same order
		"CREATE SCHEMA bench",
		uniform,
		"CREATE SCHEMA src",
		"CREATE SCHEMA app AUTHORIZATION "+ownerRole,
		"GRANT USAGE ON SCHEMA app TO "+workerRole,
		"CREATE SCHEMA spillway AUTHORIZATION "+workerRole,
		"CREATE SCHEMA system AUTHORIZATION "+workerRole,
		"GRANT USAGE ON SCHEMA system TO "+ownerRole,
		"ALTER DEFAULT PRIVILEGES FOR ROLE "+workerRole+" IN SCHEMA system GRANT SELECT ON TABLES TO "+ownerRole)
}

func execAll(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", firstWords(s), err)
		}
	}
	return nil
}

func firstWords(sql string) string {
	words := strings.Fields(sql)
	return strings.Join(words[:min(len(words), 6)], " ")
}

func (b *bed) ownerURL() string  { return b.srv.URL(ownerRole, b.password, database) }
func (b *bed) workerURL() string { return b.srv.URL(workerRole, b.password, database) }

// source makes the table that fresh copies, with n rows. Made already, it costs nothing.
func (b *bed) source(ctx context.Context, t table, n int64) error {
	var have int64
	err := b.super.QueryRow(ctx, "SELECT coalesce((SELECT reltuples FROM pg_class WHERE oid = to_regclass($1)), -1)::bigint", "src."+t.name).Scan(&have)
	if err != nil || have == n {
		return err
	}
	b.say("making %d rows of %s", n, t.name)
	if err := execAll(ctx, b.super, "DROP TABLE IF EXISTS src."+t.name); err != nil {
		return err
	}
	if err := execAll(ctx, b.super, t.createAs("src", n)...); err != nil {
		return err
	}
	// ANALYZE estimates; what was inserted is known.
	return execAll(ctx, b.super, "VACUUM (FREEZE) src."+t.name)
}

// fresh makes app.<table> anew: the same rows in the same blocks, vacuumed as old rows are, nothing of it left to write.
// It returns the number of its rows.
func (b *bed) fresh(ctx context.Context, t table, n int64) (int64, error) {
	if err := b.source(ctx, t.source(), n); err != nil {
		return 0, err
	}
	name := "app." + t.name
	steps := append(t.copyOf(n), "INSERT INTO "+name+" SELECT * FROM src."+t.source().name)
	if t.key != "" {
		steps = append(steps, "ALTER TABLE "+name+" ADD PRIMARY KEY ("+t.key+")")
	}
	steps = append(steps, b.granting(t)...)
	steps = append(steps, "VACUUM (FREEZE, ANALYZE) "+name)
	if err := execAll(ctx, b.super, steps...); err != nil {
		return 0, err
	}
	if err := b.settle(ctx); err != nil {
		return 0, err
	}
	return b.count(ctx, t)
}

// settle has all written that earlier runs left to write: it is nobody's burden.
func (b *bed) settle(ctx context.Context) error {
	err := execAll(ctx, b.super, "CHECKPOINT")
	syscall.Sync()
	return err
}

// storage is the folder of the segments, the same for every way to flush: a database has one default storage.
func (b *bed) storage() string { return filepath.Join(b.dir, "segments") }

// granting gives a table to its owner, and to the worker what `spillway grants` would.
func (b *bed) granting(t table) []string {
	names := t.leaves()
	if t.parts > 0 {
		names = append(names, t.name)
	}
	var steps []string
	for _, name := range names {
		steps = append(steps,
			"ALTER TABLE app."+name+" OWNER TO "+ownerRole,
			"GRANT SELECT, DELETE, UPDATE ("+t.columns[0].name+") ON app."+name+" TO "+workerRole)
	}
	return steps
}

// count counts the rows of a table, those of detached partitions too.
func (b *bed) count(ctx context.Context, t table) (n int64, err error) {
	for _, leaf := range t.leaves() {
		var one int64
		if err := b.super.QueryRow(ctx, "SELECT count(*) FROM app."+leaf).Scan(&one); err != nil {
			return 0, err
		}
		n += one
	}
	return n, nil
}

// megabytes is what a table takes up on disk, with its indexes and TOAST, detached partitions included.
func (b *bed) megabytes(ctx context.Context, t table) (mb float64, err error) {
	err = b.super.QueryRow(ctx, `SELECT sum(pg_total_relation_size(c.oid))::float8 / 1048576 FROM pg_class c
		WHERE c.relnamespace = 'app'::regnamespace AND c.relname = ANY ($1)`, t.leaves()).Scan(&mb)
	return mb, err
}

// ranges cuts a table in the block ranges of a flush: the last one is open-ended, its end 0.
func (b *bed) ranges(ctx context.Context, t table) ([][2]int64, error) {
	var blocks int64
	if err := b.super.QueryRow(ctx, "SELECT pg_relation_size(to_regclass($1)) / $2", "app."+t.name, int64(blockSize)).Scan(&blocks); err != nil {
		return nil, err
	}
	per, chunks := hot.Cut(uint32(blocks), blockSize, b.cfg.chunkBytes, b.cfg.parallelism)
	out := make([][2]int64, chunks)
	for i := range out {
		out[i] = [2]int64{int64(i) * int64(per), int64(i+1) * int64(per)}
	}
	if chunks > 0 {
		out[chunks-1][1] = 0 // open-ended
	}
	return out, nil
}

// say tells the person who waits what goes on.
func (b *bed) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%7.1fs  %s\n", time.Since(b.started).Seconds(), fmt.Sprintf(format, args...))
}
