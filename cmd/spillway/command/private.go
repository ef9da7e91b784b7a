package command

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/grants"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/embedpg"
)

// What a private PostgreSQL holds; docs/decisions/0007-private-postgresql.md says why.
const (
	privateDatabase = "app"
	privateUser     = "app"
	privateSchema   = "app"
	privateWorker   = "spillway"
)

// privatePostgres is the PostgreSQL of a data directory, for those who bring none.
type privatePostgres struct {
	server    *embedpg.Server
	workerURL string // of the worker's role
	userURL   string // of the person's role; straight to PostgreSQL, past the front-end
	passwords map[string]string
}

// startPrivate starts the server and makes what is missing in it. Calling it again on the same directory finds all as it was.
func startPrivate(ctx context.Context, dataDir string, log *slog.Logger) (*privatePostgres, error) {
	passwords, err := ensurePasswords(dataDir)
	if err != nil {
		return nil, err
	}
	server, err := embedpg.Start(ctx, &embedpg.Options{DataDir: filepath.Join(dataDir, "postgres"), Logger: log})
	if err != nil {
		return nil, err
	}
	p := &privatePostgres{
		server: server, passwords: passwords,
		workerURL: server.URL(privateWorker, passwords[privateWorker], privateDatabase),
		userURL:   server.URL(privateUser, passwords[privateUser], privateDatabase),
	}
	if err := p.furnish(ctx); err != nil {
		stopCtx := context.WithoutCancel(ctx)
		return nil, errors.Join(fmt.Errorf("prepare the private PostgreSQL: %w", err), server.Stop(stopCtx))
	}
	return p, nil
}

// furnish makes roles, database, schema and rights, where they are missing. It may only add: the person may have changed
// whatever there was.
func (p *privatePostgres) furnish(ctx context.Context) error {
	var exists bool
	err := p.asSuperuser(ctx, "postgres", func(conn *pgx.Conn) error {
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", privateDatabase).Scan(&exists); err != nil {
			return err
		}
		var b strings.Builder
		grants.CreateRole(func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }, privateUser, "LOGIN", false)
		if err := execute(ctx, conn, b.String()); err != nil || exists {
			return err
		}
		return execute(ctx, conn, "CREATE DATABASE "+privateDatabase+" OWNER "+privateUser)
	})
	if err != nil {
		return err
	}
	return p.asSuperuser(ctx, privateDatabase, func(conn *pgx.Conn) error {
		script := grants.Script{Role: privateWorker, Database: privateDatabase, Readers: []string{privateUser}, Operators: true}
		statements := []string{script.String()}
		if !exists {
			statements = append(statements, "CREATE SCHEMA IF NOT EXISTS "+privateSchema+" AUTHORIZATION "+privateUser)
		}
		statements = append(statements,
			"GRANT "+grants.Operator+" TO "+privateUser,
			"ALTER DEFAULT PRIVILEGES FOR ROLE "+privateUser+" GRANT USAGE ON SCHEMAS TO "+privateWorker,
			"ALTER DEFAULT PRIVILEGES FOR ROLE "+privateUser+" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "+privateWorker,
			"DO $$ BEGIN IF to_regnamespace('"+privateSchema+"') IS NOT NULL THEN GRANT USAGE ON SCHEMA "+privateSchema+" TO "+privateWorker+"; END IF; END $$",
		)
		for role, password := range p.passwords {
			statements = append(statements, "ALTER ROLE "+role+" PASSWORD "+sqlclient.Literal(password))
		}
		return execute(ctx, conn, statements...)
	})
}

func (p *privatePostgres) asSuperuser(ctx context.Context, database string, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, p.server.SuperURL(database))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return do(conn)
}

// execute runs scripts, each by the simple protocol.
func execute(ctx context.Context, conn *pgx.Conn, scripts ...string) error {
	for _, s := range scripts {
		if err := conn.PgConn().Exec(ctx, s).Close(); err != nil {
			return err
		}
	}
	return nil
}

func pgpassPath(dataDir string) string { return filepath.Join(dataDir, "pgpass") }

// ensurePasswords reads the passwords of the private PostgreSQL's roles, or makes them. They are kept in the form that
// libpq reads, so that psql can be told where they are.
func ensurePasswords(dataDir string) (map[string]string, error) {
	path := pgpassPath(dataDir)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		made := ""
		for _, role := range []string{privateUser, privateWorker} {
			made += "*:*:*:" + role + ":" + rand.Text() + "\n"
		}
		if err := os.WriteFile(path, []byte(made), 0o600); err != nil {
			return nil, fmt.Errorf("keep the private PostgreSQL's passwords: %w", err)
		}
		text = []byte(made)
	} else if err != nil {
		return nil, fmt.Errorf("read the private PostgreSQL's passwords: %w", err)
	}
	passwords := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(string(text))); lines.Scan(); {
		if parts := strings.SplitN(lines.Text(), ":", 5); len(parts) == 5 {
			passwords[parts[3]] = parts[4]
		}
	}
	if passwords[privateUser] == "" || passwords[privateWorker] == "" {
		return nil, fail.Hint(fmt.Errorf("%s does not hold the passwords of the private PostgreSQL", path),
			"remove the file: new passwords are made at the next start")
	}
	return passwords, nil
}
