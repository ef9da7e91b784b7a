package sqlclient

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
)

// Client is a connection to the front-end.
type Client struct {
	Conn           *pgconn.PgConn
	OnNotice       func(*pgconn.Notice)       // may be nil
	OnNotification func(*pgconn.Notification) // may be nil
	patience       *pgconn.CancelRequestContextWatcherHandler
}

// Dial connects. The error is *fail.Usage where the URL cannot be read, *fail.Unreachable where nobody answers or lets us in, and
// fail.ErrInterrupted.
func Dial(ctx context.Context, url string) (*Client, error) {
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, frontError(err)
	}
	c := &Client{}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if c.OnNotice != nil {
			c.OnNotice(n)
		}
	}
	cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
		if c.OnNotification != nil {
			c.OnNotification(n)
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
	if c.Conn, err = pgconn.ConnectConfig(ctx, cfg); err != nil {
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

// WaitForCancel says how long a statement that was cancelled may take to end, before the connection is given up; it was 2 s.
func (c *Client) WaitForCancel(most time.Duration) { c.patience.DeadlineDelay = most }

// Close says goodbye, and waits a second at most.
func (c *Client) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Conn.Close(ctx) // a goodbye; nothing is lost with it
}

// Run sends one statement text and hands every result to s. The error is *StatementError if the server refused it.
func (c *Client) Run(ctx context.Context, statement string, s show.Sink) error {
	results := c.Conn.Exec(ctx, statement)
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
	return OfStatement(failed, statement)
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
