package pgwire

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// direct implements Upstream on a connection that nobody else uses.
type direct struct{ conn *pgconn.PgConn }

// Direct returns an Upstream on a connection of the caller's own, for statements that are read without a client. Nothing is
// pending between two questions: outside of BEGIN … COMMIT each is a transaction of its own.
func Direct(conn *pgconn.PgConn) Upstream { return direct{conn} }

func (d direct) Query(ctx context.Context, sql string, args ...string) ([][]*string, error) {
	res := d.conn.ExecParams(ctx, sql, textParams(args), textOIDs(len(args)), nil, nil).Read()
	if res.Err != nil {
		var pg *pgconn.PgError
		if errors.As(res.Err, &pg) {
			return nil, &Error{Severity: pg.Severity, Code: pg.Code, Message: pg.Message, Detail: pg.Detail, Hint: pg.Hint, Position: int(pg.Position)}
		}
		return nil, res.Err
	}
	rows := make([][]*string, len(res.Rows))
	for i, values := range res.Rows {
		rows[i] = make([]*string, len(values))
		for k, v := range values {
			if v != nil {
				s := string(v)
				rows[i][k] = &s
			}
		}
	}
	return rows, nil
}

func (d direct) Block() Block               { return Block(d.conn.TxStatus()) }
func (d direct) Release() error             { return nil }
func (d direct) Setting(name string) string { return d.conn.ParameterStatus(name) }
