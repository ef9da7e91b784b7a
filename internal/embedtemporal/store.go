package embedtemporal

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/persistence/sql/sqlplugin"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	sqliteschema "go.temporal.io/server/schema/sqlite"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spillwaydb/spillway/internal/filelock"
)

const (
	storeFile = "temporal.db"
	lockFile  = "temporal.lock"

	// driverName is what the SQLite plugin registers with database/sql.
	driverName = "sqlite"
)

// pragmas of the file. With a write-ahead log and one connection the store does twice the work that it does with the
// defaults; FULL makes each commit durable before Temporal answers.
func pragmas() map[string]string {
	return map[string]string{"journal_mode": "wal", "synchronous": "full", "busy_timeout": "10000"}
}

// backend is where Temporal keeps its state.
type backend interface {
	persistence() config.Persistence
	// createNamespace writes the namespace into the store before the server starts: one that is registered later is unusable
	// until the server's caches have heard of it.
	createNamespace(name string, retention time.Duration) error
	release() error
}

// store is a SQLite file, or a database in memory.
type store struct {
	path string // "" in memory
	conf *config.SQL
	lock *filelock.Lock
}

// openStore prepares the store in dir, or in memory if dir is "".
func openStore(ctx context.Context, dir string) (*store, error) {
	if dir == "" {
		return &store{conf: sqlConfig("spillway-"+rand.Text(), map[string]string{"mode": "memory", "cache": "shared"})}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &StoreError{Path: dir, Msg: "make the folder", Err: err}
	}
	lock, err := filelock.Acquire(filepath.Join(dir, lockFile))
	var held *filelock.HeldError
	if errors.As(err, &held) {
		return nil, &InUseError{Dir: dir, PID: held.PID}
	}
	if err != nil {
		return nil, &StoreError{Path: dir, Msg: "lock the folder", Err: err}
	}
	attributes := pragmas()
	attributes["mode"] = "rwc"
	path := filepath.Join(dir, storeFile)
	// The plugin puts the name into a URI as it is.
	s := &store{path: path, lock: lock, conf: sqlConfig((&url.URL{Path: path}).EscapedPath(), attributes)}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	return s, nil
}

func sqlConfig(name string, attributes map[string]string) *config.SQL {
	return &config.SQL{
		PluginName:        sqliteplugin.PluginName,
		DatabaseName:      name,
		ConnectAttributes: attributes,
		MaxConns:          1,
		MaxIdleConns:      1,
	}
}

func (s *store) release() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Release()
}

// dsn is the plugin's own for the file.
func (s *store) dsn() string {
	values := url.Values{"mode": {s.conf.ConnectAttributes["mode"]}}
	for name, value := range pragmas() {
		values.Add("_pragma", name+"="+value)
	}
	slices.Sort(values["_pragma"])
	return "file:" + s.conf.DatabaseName + "?" + values.Encode()
}

// prepare makes the file and its schema, or checks those that are there.
func (s *store) prepare(ctx context.Context) error {
	// SQLite would make the file readable for all; its companions take their mode from it.
	file, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return &StoreError{Path: s.path, Msg: "open", Err: err}
	}
	if err := file.Close(); err != nil {
		return &StoreError{Path: s.path, Msg: "open", Err: err}
	}
	db, err := sql.Open(driverName, s.dsn())
	if err != nil {
		return &StoreError{Path: s.path, Msg: "open", Err: err}
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if err := s.checkPragmas(ctx, db); err != nil {
		return err
	}
	if err := s.prepareSchema(ctx, db); err != nil {
		var done *StoreError
		if errors.As(err, &done) {
			return err
		}
		return &StoreError{Path: s.path, Msg: "prepare the schema", Err: err}
	}
	return nil
}

// checkPragmas asks whether the pragmas took effect: SQLite ignores unknown ones, and some file systems cannot hold a
// write-ahead log.
func (s *store) checkPragmas(ctx context.Context, db *sql.DB) error {
	for name, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "10000"} {
		var got string
		if err := db.QueryRowContext(ctx, "PRAGMA "+name).Scan(&got); err != nil {
			return &StoreError{Path: s.path, Msg: "is no SQLite database that can be used", Err: err}
		}
		if !strings.EqualFold(got, want) {
			return &StoreError{Path: s.path, Msg: fmt.Sprintf("SQLite's %s is %s, %s is needed (is it a network file system?)", name, got, want)}
		}
	}
	return nil
}

// storeVersion names the layout of the tables. Temporal has no migrations for SQLite.
const storeVersion = sqliteschema.Version + "/" + sqliteschema.VisibilityVersion

func (s *store) prepareSchema(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var tables int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE type = 'table'").Scan(&tables); err != nil {
		return err
	}
	if tables > 0 {
		return s.checkVersion(ctx, tx)
	}
	// One transaction: a killed first start leaves an empty file, not half a schema.
	exec := func(stmt string, args ...any) error {
		_, err := tx.ExecContext(ctx, stmt, args...)
		return err
	}
	if err := sqliteschema.SetupSchemaOnDB(&schemaTx{exec: exec}); err != nil {
		return err
	}
	if err := exec("CREATE TABLE spillway_store (version text NOT NULL)"); err != nil {
		return err
	}
	if err := exec("INSERT INTO spillway_store VALUES (?)", storeVersion); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *store) checkVersion(ctx context.Context, tx *sql.Tx) error {
	const remedy = "move the file away: the history of live jobs is lost with it, no row is"
	var version string
	if err := tx.QueryRowContext(ctx, "SELECT version FROM spillway_store").Scan(&version); err != nil {
		return &StoreError{Path: s.path, Msg: "was not made by spillway; " + remedy, Err: err}
	}
	if version != storeVersion {
		return &StoreError{Path: s.path, Msg: fmt.Sprintf("has version %s, this program needs %s; %s", version, storeVersion, remedy)}
	}
	return nil
}

// schemaTx lets Temporal's schema set-up work inside our transaction. It uses Exec alone.
type schemaTx struct {
	sqlplugin.AdminDB
	exec func(stmt string, args ...any) error
}

func (s *schemaTx) Exec(stmt string, args ...any) error { return s.exec(stmt, args...) }

// persistence implements backend.
func (s *store) persistence() config.Persistence {
	return config.Persistence{
		DefaultStore:     storeName,
		VisibilityStore:  storeName,
		NumHistoryShards: historyShards,
		DataStores:       map[string]config.DataStore{storeName: {SQL: s.conf}},
	}
}

// createNamespace implements backend.
func (s *store) createNamespace(name string, retention time.Duration) error {
	return writeNamespace(s.conf, s.path, name, retention)
}

// writeNamespace is Temporal's own, which works on any SQL store.
func writeNamespace(conf *config.SQL, where, name string, retention time.Duration) error {
	ns, err := sqliteschema.NewNamespaceConfig(clusterName, name, false, nil)
	if err == nil {
		ns.Detail.Config.Retention = durationpb.New(retention)
		err = sqliteschema.CreateNamespaces(conf, ns)
	}
	if err != nil {
		return &StoreError{Path: where, Msg: "create namespace " + name, Err: err}
	}
	return nil
}
