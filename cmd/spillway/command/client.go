package command

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
)

// clientOptions say where the front-end is.
type clientOptions struct {
	sqlURL  string
	dataDir string
}

func (o *clientOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.sqlURL, "sql-url", "", "address of the SQL front-end, postgres://user@host:7432/database (default: that of a running 'spillway up')")
	cmd.Flags().StringVar(&o.dataDir, "data-dir", defaultDataDir, "data directory of the running 'spillway up'")
}

// client is a connection to the front-end.
type client struct {
	conn           *pgconn.PgConn
	onNotice       func(*pgconn.Notice)       // may be nil
	onNotification func(*pgconn.Notification) // may be nil
	patience       *pgconn.CancelRequestContextWatcherHandler
}

// connect opens a connection to the front-end that the flags name.
func (o *clientOptions) connect(ctx context.Context) (*client, error) {
	url := o.sqlURL
	if url == "" {
		up, err := findUp(o.dataDir)
		if err != nil {
			return nil, err
		}
		url = up.SQLURL
	}
	return dial(ctx, url)
}

func dial(ctx context.Context, url string) (*client, error) {
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, frontError(err)
	}
	c := &client{}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if c.onNotice != nil {
			c.onNotice(n)
		}
	}
	cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
		if c.onNotification != nil {
			c.onNotification(n)
		}
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "spillway cli"
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	// An interrupt cancels the statement as psql does, and closes the connection only if that does not help.
	cfg.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		c.patience = &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 2 * time.Second}
		return c.patience
	}
	if c.conn, err = pgconn.ConnectConfig(ctx, cfg); err != nil {
		if fail.Interrupted(ctx) {
			return nil, fail.ErrInterrupted
		}
		return nil, frontError(err)
	}
	return c, nil
}

// frontError says what to do about a connection to the front-end that did not come about.
func frontError(err error) error {
	var bad *pgconn.ParseConfigError
	if errors.As(err, &bad) {
		return &fail.Usage{Msg: "--sql-url cannot be read", Todo: "the form is postgres://user@host:7432/database"}
	}
	advice := "check the address; is `spillway up` running there?"
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "28P01", "28000":
			advice = "check user and password: in the URL, PGPASSWORD or ~/.pgpass"
		case "3D000":
			advice = "check the name of the database in the URL"
		default:
			advice = pg.Hint
		}
		err = errors.New(pg.Message)
	}
	return &fail.Unreachable{What: "the SQL front-end cannot be reached", Err: err, Todo: advice}
}

func (c *client) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx) // a goodbye; nothing is lost with it
}

// run sends one statement text and hands every result to s. The error is *statementError if the server refused it.
func (c *client) run(ctx context.Context, statement string, s show.Sink) error {
	results := c.conn.Exec(ctx, statement)
	var failed error
	for results.NextResult() {
		if err := copyResult(results.ResultReader(), s); err != nil && failed == nil {
			failed = err
		}
	}
	if err := results.Close(); err != nil && failed == nil {
		failed = err
	}
	var pg *pgconn.PgError
	if errors.As(failed, &pg) {
		c.suggest(ctx, pg)
	}
	return ofStatement(failed, statement)
}

// ofStatement keeps an answer of the server with the statement that it belongs to.
func ofStatement(err error, statement string) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return &statementError{statement: statement, err: pg}
	}
	return err
}

func copyResult(r *pgconn.ResultReader, s show.Sink) error {
	fields := r.FieldDescriptions()
	cols := make([]show.Column, len(fields))
	for i, f := range fields {
		cols[i] = show.Column{Name: f.Name, OID: f.DataTypeOID}
	}
	failed := s.Begin(cols)
	for r.NextRow() {
		if failed == nil {
			failed = s.Row(r.Values())
		}
	}
	tag, err := r.Close()
	if err != nil {
		return err
	}
	if failed == nil {
		failed = s.End(tag.String())
	}
	return failed
}

// rowMap is one row by column name; a missing key is NULL.
type rowMap map[string]string

// mapSink collects rows for commands that read them.
type mapSink struct {
	cols []show.Column
	rows []rowMap
}

func (m *mapSink) Begin(cols []show.Column) error { m.cols = cols; return nil }
func (m *mapSink) End(string) error               { return nil }

func (m *mapSink) Row(values [][]byte) error {
	r := rowMap{}
	for i, v := range values {
		if v != nil {
			r[m.cols[i].Name] = string(v)
		}
	}
	m.rows = append(m.rows, r)
	return nil
}

// rows runs a statement and returns its rows by name.
func (c *client) rows(ctx context.Context, statement string) ([]rowMap, error) {
	var m mapSink
	if err := c.run(ctx, statement, &m); err != nil {
		return nil, err
	}
	return m.rows, nil
}
