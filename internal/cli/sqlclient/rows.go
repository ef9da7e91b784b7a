package sqlclient

import (
	"context"

	"github.com/spillwaydb/spillway/internal/cli/show"
)

// Row is one row by column name; a missing key is NULL.
type Row map[string]string

// Collector collects rows for commands that read them.
type Collector struct {
	Rows []Row

	cols []show.Column
}

// Begin implements show.Sink.
func (m *Collector) Begin(cols []show.Column) error { m.cols = cols; return nil }

// End implements show.Sink.
func (m *Collector) End(string) error { return nil }

// Row implements show.Sink.
func (m *Collector) Row(values [][]byte) error {
	r := Row{}
	for i, v := range values {
		if v != nil {
			r[m.cols[i].Name] = string(v)
		}
	}
	m.Rows = append(m.Rows, r)
	return nil
}

// Rows runs a statement and returns its rows by name.
func (c *Client) Rows(ctx context.Context, statement string) ([]Row, error) {
	var m Collector
	if err := c.Run(ctx, statement, &m); err != nil {
		return nil, err
	}
	return m.Rows, nil
}
