package embedtemporal

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jmoiron/sqlx"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

const patience = time.Minute

func holder(t *testing.T, url string) *Postgres {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p, err := OpenPostgres(ctx, &PostgresOptions{URL: url, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func poolOf(t *testing.T, p *Postgres) *sqlx.DB {
	t.Helper()
	db, err := p.mainConfig().Connect(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // it may be closed by then
	return db
}

// A37: a process that does not know that it has lost the store cannot write: what it began is rolled back, and it can begin
// nothing new. It may be frozen for as long as it likes.
func TestPostgresZombie(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	zombie := holder(t, db.WorkerURL)
	// It never learns that its lock has gone.
	zombie.lock.stop()
	<-zombie.lock.done
	pool := poolOf(t, zombie)
	tx, err := pool.Begin()
	if err != nil {
		t.Fatal(err)
	}
	const write = "INSERT INTO shards (shard_id, range_id, data, data_encoding) VALUES (77, 1, '', '')"
	if _, err := tx.Exec(write); err != nil {
		t.Fatal(err)
	}
	db.Super(t, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")

	next := holder(t, db.WorkerURL)
	if zombie.Err() != nil {
		t.Fatal("the zombie knows")
	}
	if err := tx.Commit(); err == nil {
		t.Error("the zombie has committed")
	}
	if _, err := pool.Exec(write); !errors.Is(err, ErrStoreLost) {
		t.Errorf("a new connection of the zombie: %v", err)
	}
	if _, err := zombie.mainConfig().Connect(nil); !errors.Is(err, ErrStoreLost) {
		t.Errorf("a new pool of the zombie: %v", err)
	}
	if n := pgtest.Value[int](t, db, "SELECT count(*)::int FROM temporal.shards"); n != 0 {
		t.Errorf("%d rows of the zombie", n)
	}
	if _, err := poolOf(t, next).Exec(write); err != nil {
		t.Errorf("the new holder: %v", err)
	}
}

// A session that the server hears nothing from is ended, and with it the lock: so a frozen process loses the store.
func TestPostgresSilence(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	frozen := holder(t, db.WorkerURL)
	frozen.lock.stop()
	<-frozen.lock.done
	begun := time.Now()
	next := holder(t, db.WorkerURL)
	took := time.Since(begun)
	t.Logf("taken over from a silent process after %v", took)
	if took < lockPatience+lockBeat {
		t.Errorf("taken over after %v, before a living process would have stopped", took)
	}
	if next.epoch <= frozen.epoch {
		t.Errorf("epoch %d after %d", next.epoch, frozen.epoch)
	}
}

// Tables of an earlier Temporal are brought up to date, also where an earlier try was cut off.
func TestPostgresUpdate(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg, err := storeConfig(db.WorkerURL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	p := &Postgres{opt: &PostgresOptions{Schema: DefaultSchema}}
	for _, set := range p.tableSets() {
		exec("CREATE SCHEMA " + set.schema)
		exec("SET search_path = " + set.schema)
		if _, err := conn.PgConn().Exec(ctx, versionTables).ReadAll(); err != nil {
			t.Fatal(err)
		}
		steps, err := stepsAfter(set, "0.0")
		if err != nil || len(steps) < 3 {
			t.Fatalf("%d steps, %v", len(steps), err)
		}
		for _, s := range steps[:len(steps)-2] {
			if err := takeStep(ctx, conn, set, s); err != nil {
				t.Fatalf("%s %s: %v", set.name, s.to, err)
			}
		}
		cutOff := steps[len(steps)-2]
		exec(cutOff.statements[0]) // and then it was killed
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		return insertStoreRow(ctx, tx, DefaultSchema, &storeRow{shards: 1})
	})
	if err != nil {
		t.Fatal(err)
	}
	updated := holder(t, db.WorkerURL)
	for _, set := range updated.tableSets() {
		got := pgtest.Value[string](t, db, "SELECT curr_version FROM "+set.schema+".schema_version WHERE db_name = '"+set.name+"'")
		if got != set.version {
			t.Errorf("%s has version %s, want %s", set.name, got, set.version)
		}
	}
	srv, err := Start(ctx, &Options{Store: updated, NoUI: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Stop(); err != nil {
		t.Error(err)
	}
}
