package clients

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// tools compares what Grafana and DBeaver are told when they connect: directly, and through the front-end, by both
// protocols, names and types of columns and all.
func tools(t *testing.T, r *rig) {
	db := pgtest.DatabaseOn(t, r.db.Server)
	db.Exec(t, "CREATE TABLE app.metrics (at timestamptz, host text, value float8)", "INSERT INTO app.metrics VALUES ('2026-01-01', 'a', 1.5)")
	for _, tool := range []string{"grafana.sql", "dbeaver.sql"} {
		text, err := os.ReadFile(script(tool))
		must(t, err)
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
			direct, _ := connectAs(t, db.OwnerURL, mode)
			proxied, _ := connectAs(t, r.through(t, db.OwnerURL), mode)
			n := 0
			for _, query := range strings.Split(string(text), ";\n") {
				if query = strings.TrimSpace(query); query == "" {
					continue
				}
				n++
				want, got := ask(t, direct, query), ask(t, proxied, query)
				if !reflect.DeepEqual(want, got) {
					t.Errorf("%s:\n%s\ndirect\n%.2000v\nthrough the front-end\n%.2000v", tool, query, want, got)
				}
				if want.err != "" && !strings.Contains(query, "-- fails") {
					t.Errorf("%s: %s: %s", tool, query, want.err)
				}
			}
			if n < 10 {
				t.Errorf("%s holds %d queries", tool, n)
			}
		}
	}
}

// told is all that a client learns from a query.
type told struct {
	fields []pgconn.FieldDescription
	rows   [][]any
	tag    string
	err    string
}

func ask(t *testing.T, conn *pgx.Conn, query string) told {
	t.Helper()
	var a told
	rows, err := conn.Query(t.Context(), query)
	if err == nil {
		a.fields = append(a.fields, rows.FieldDescriptions()...)
		for rows.Next() {
			values, err := rows.Values()
			must(t, err)
			a.rows = append(a.rows, values)
		}
		err, a.tag = rows.Err(), rows.CommandTag().String()
	}
	if err != nil {
		a.err = err.Error()
	}
	return a
}
