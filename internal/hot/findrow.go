package hot

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// FindRow says where the row with a primary key lies, "(12,3)", or "" if there is none. The key is in the order of the table's,
// each value as PostgreSQL prints it.
func (db *DB) FindRow(ctx context.Context, t *Table, key []string) (string, error) {
	if len(key) == 0 || len(key) != len(t.PrimaryKey) {
		return "", nil
	}
	var where []string
	args := make([]any, len(key))
	for i, name := range t.PrimaryKey {
		args[i] = key[i]
		for _, c := range t.Columns {
			if c.Name == name {
				where = append(where, fmt.Sprintf("%s = $%d::pg_catalog.text::%s", pgx.Identifier{name}.Sanitize(), i+1, c.Declared))
			}
		}
	}
	var ctid string
	err := db.pool.QueryRow(ctx, "SELECT ctid::pg_catalog.text FROM ONLY "+t.Ident()+" WHERE "+strings.Join(where, " AND "), args...).Scan(&ctid)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find row: %w", err)
	}
	return ctid, nil
}
