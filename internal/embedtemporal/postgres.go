package embedtemporal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/iancoleman/strcase"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	"go.temporal.io/server/common/config"
	pgplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql"

	"github.com/spillwaydb/spillway/internal/obs"
)

const (
	// DefaultSchema is the schema of Temporal's tables when PostgresOptions names none. Its visibility has one of its own, of
	// the same name with "_visibility" at its end.
	DefaultSchema = "temporal"
	// DefaultShards is the number of history shards of a new store: as many writes of jobs go on side by side.
	DefaultShards = 4

	visibilitySuffix = "_visibility"
	maxSchema        = 63 - len(visibilitySuffix)
	maxShards        = 1024

	// Temporal knows a database and an index of visibility by these names. The real ones may change.
	mainName       = "temporal"
	visibilityName = "temporal_visibility"

	// Each of four services has a pool for the tables and one for visibility.
	poolConns     = 8
	poolIdle      = 2
	poolIdleTime  = time.Minute
	minVersion    = 140000 // idle_session_timeout came with PostgreSQL 14
	connectWithin = 10 * time.Second
)

// PostgresOptions say where in PostgreSQL a store is. URL is required.
type PostgresOptions struct {
	// URL of the database. What it leaves out comes from libpq's variables and password file, as for psql.
	URL string
	// Schema of Temporal's tables; "" means DefaultSchema.
	Schema string
	// Shards is the number of history shards, fixed when the store is made; 0 means what is stored, or DefaultShards.
	Shards int
	// Owner says whose jobs are in the store. A store of another owner is refused.
	Owner string
	// Holder says who this process is, to those who wait.
	Holder string
	// Waiting is called once, when another process has the store. holder is "" if that is not known. It may be nil.
	Waiting func(holder string)
	// Logger is for what happens to the store; nil means slog.Default.
	Logger *slog.Logger
}

func (o *PostgresOptions) withDefaults() (*PostgresOptions, error) {
	var opt PostgresOptions
	if o != nil {
		opt = *o
	}
	if opt.Schema == "" {
		opt.Schema = DefaultSchema
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	if opt.Waiting == nil {
		opt.Waiting = func(string) {}
	}
	return &opt, opt.Check()
}

// Check refuses options that cannot be, without talking to a server.
func (o *PostgresOptions) Check() error {
	switch {
	case len(o.Schema) > maxSchema:
		return fmt.Errorf("schema %q of the Temporal store is longer than %d bytes", o.Schema, maxSchema)
	case strings.ContainsRune(o.Schema, 0), strings.HasPrefix(o.Schema, "pg_"), o.Schema == "information_schema", o.Schema == "public":
		return fmt.Errorf("schema %q cannot hold a Temporal store: name one that holds nothing else", o.Schema)
	case o.Shards < 0 || o.Shards > maxShards:
		return fmt.Errorf("%d shards of the Temporal store: expected 1 to %d", o.Shards, maxShards)
	}
	_, err := storeConfig(o.URL)
	return err
}

// Postgres is a store in PostgreSQL that this process has, and no other. It keeps it by a session that holds an advisory lock;
// when that session is lost, so is the store: its connections are closed, new ones refused, and a Server on it stops.
type Postgres struct {
	opt    *PostgresOptions
	cfg    *pgx.ConnConfig
	where  string // for messages
	shards int
	epoch  int64
	lock   *storeLock

	mu    sync.Mutex
	pools []*sqlx.DB
	shut  bool
}

// OpenPostgres takes a store for this process, and makes it or brings its tables up to date. While another process has it,
// it waits, until ctx ends.
//
// Errors: *StoreError, and what ctx ended with.
func OpenPostgres(ctx context.Context, o *PostgresOptions) (*Postgres, error) {
	p, err := newPostgres(o)
	if err != nil {
		return nil, err
	}
	if p.lock, err = p.awaitLock(ctx); err != nil {
		return nil, err
	}
	go p.followLock()
	if err := p.takeOver(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// newPostgres is a store that nobody has looked at yet.
func newPostgres(o *PostgresOptions) (*Postgres, error) {
	opt, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Postgres{opt: opt}
	if p.cfg, err = storeConfig(opt.URL); err != nil {
		return nil, err
	}
	p.where = storeWhere(opt, p.cfg)
	return p, nil
}

// followLock lets go of the store in the moment in which the lock is lost.
func (p *Postgres) followLock() {
	<-p.lock.lost
	p.closePools()
}

// takeOver makes sure that nobody else writes into the store, and that its tables are as this program needs them.
func (p *Postgres) takeOver(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.lock.lost:
			cancel(p.lock.failure())
		case <-ctx.Done():
		}
	}()
	conn, err := p.connect(ctx, "")
	if err != nil {
		return err
	}
	defer closeSoon(conn)
	err = p.makeOrFence(ctx, conn)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

func (p *Postgres) makeOrFence(ctx context.Context, conn *pgx.Conn) error {
	row, err := readStoreRow(ctx, conn, p.opt.Schema)
	if err != nil {
		return p.failed("look at the tables", err)
	}
	if row == nil {
		if row, err = p.makeTables(ctx, conn); err != nil {
			return err
		}
	}
	if err := p.checkRow(row); err != nil {
		return err
	}
	p.shards = row.shards
	if err := p.fence(ctx, conn); err != nil {
		return err
	}
	return p.updateTables(ctx)
}

// checkRow refuses a store that is another's, or cut in another way.
func (p *Postgres) checkRow(row *storeRow) error {
	if row.owner != p.opt.Owner {
		return &StoreError{Path: p.where, Msg: fmt.Sprintf("belongs to %s, not to %s", row.owner, p.opt.Owner),
			Hint: "give this installation a store of its own with --temporal-store-schema"}
	}
	if p.opt.Shards != 0 && p.opt.Shards != row.shards {
		return &StoreError{Path: p.where, Msg: fmt.Sprintf("has %d history shards, not %d: their number is fixed when the store is made", row.shards, p.opt.Shards),
			Hint: fmt.Sprintf("leave --temporal-store-shards out, or set it to %d; a new --temporal-store-schema makes a new store, without the jobs of this one", row.shards)}
	}
	return nil
}

// Shards is the number of history shards.
func (p *Postgres) Shards() int { return p.shards }

// Lost is closed when this process no longer has the store; Err then says why.
func (p *Postgres) Lost() <-chan struct{} { return p.lock.lost }

// Err is why the store is lost, or nil. It wraps ErrStoreLost.
func (p *Postgres) Err() error { return p.lock.failure() }

// Close gives the store back, so that another process can have it at once. A Server on it must be stopped before. A second
// Close is harmless.
func (p *Postgres) Close() error {
	p.closePools()
	p.lock.release()
	return nil
}

func (p *Postgres) closePools() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut = true
	for _, db := range p.pools {
		// What is under way ends by itself or is ended by the next holder; nothing new begins.
		if err := db.Close(); err != nil {
			p.opt.Logger.Debug("close a pool of the Temporal store", obs.KeyErr, err)
		}
	}
	p.pools = nil
}

// pool opens connections for Temporal in one of the two schemas.
func (p *Postgres) pool(schema string) (*sqlx.DB, error) {
	cfg := p.cfg.Copy()
	cfg.RuntimeParams["search_path"] = pgx.Identifier{schema}.Sanitize()
	db := sqlx.NewDb(sql.OpenDB(stdlib.GetConnector(*cfg, stdlib.OptionAfterConnect(p.admit))), "pgx")
	db.SetMaxOpenConns(poolConns)
	db.SetMaxIdleConns(poolIdle)
	db.SetConnMaxIdleTime(poolIdleTime)
	db.MapperFunc(strcase.ToSnake) // the plugin's rows name their columns so
	p.mu.Lock()
	if p.shut {
		p.mu.Unlock()
		return nil, errors.Join(ErrStoreLost, db.Close())
	}
	p.pools = append(p.pools, db)
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), connectWithin)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (p *Postgres) sqlConfig(schema, name string) *config.SQL {
	return &config.SQL{
		PluginName:   pgplugin.PluginNamePGX,
		DatabaseName: name,
		Connect:      func(*config.SQL) (*sqlx.DB, error) { return p.pool(schema) },
	}
}

func (p *Postgres) mainConfig() *config.SQL { return p.sqlConfig(p.opt.Schema, mainName) }

func (p *Postgres) visibilityConfig() *config.SQL {
	return p.sqlConfig(p.opt.Schema+visibilitySuffix, visibilityName)
}

// persistence implements backend.
func (p *Postgres) persistence() config.Persistence {
	return config.Persistence{
		DefaultStore:     mainName,
		VisibilityStore:  visibilityName,
		NumHistoryShards: int32(p.shards),
		DataStores: map[string]config.DataStore{
			mainName: {SQL: p.mainConfig()}, visibilityName: {SQL: p.visibilityConfig()},
		},
	}
}

// createNamespace implements backend.
func (p *Postgres) createNamespace(name string, retention time.Duration) error {
	return writeNamespace(p.mainConfig(), p.where, name, retention)
}

// release implements backend. The store stays with the process, which may start a server on it again.
func (p *Postgres) release() error { return nil }

func (p *Postgres) failed(step string, err error) error {
	var done *StoreError
	if errors.As(err, &done) || errors.Is(err, ErrStoreLost) {
		return err
	}
	return &StoreError{Path: p.where, Msg: step, Err: err, Hint: storeHint(err)}
}
