package sqldoc

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/product"
	"github.com/spillwaydb/spillway/tests/transcript"
)

var show = flag.Bool("show", false, "print what the examples answer, for writing the page")

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience is how long a statement, and the start of the product, may take.
const patience = 90 * time.Second

// A3, A9, A27, A28: the reference says what the product does.
func TestReference(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	known := transcript.Book{}
	for _, step := range page(t) {
		at := fmt.Sprintf("docs/sql.md:%d", step.line)
		switch step.verb {
		case "super":
			s.db.Super(t, strings.NewReplacer("WORKER", s.db.Worker, "OWNER TO OWNER", "OWNER TO "+s.db.Owner).Replace(step.text))
		case "quiet":
			s.run(t, known.Translate(step.text))
		case "hold":
			s.hold(t, step.text)
		case "release":
			s.release(t)
		case "as":
			s.as(t, step.text)
		case "sql":
			got := s.run(t, known.Translate(step.text))
			if *show {
				fmt.Printf("%s\n%s\n%s\n\n", at, step.text, got)
			}
			if err := known.Compare(step.answer, got); err != nil {
				t.Errorf("%s: %s\n%v", at, step.text, err)
				if !*show {
					t.FailNow() // what follows builds on it
				}
			}
		}
	}
}

// site is a spillway up, and a session of the tables' owner.
type site struct {
	db      *pgtest.DB
	srv     string // stands for /srv
	sqlURL  string
	session *pgconn.PgConn
	notices []string
	holder  *pgx.Conn
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "spillway-sqldoc-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755)) // PostgreSQL's account enters it too
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := product.Binary(dir)
	must(t, err)
	s := &site{db: pgtest.Database(t), srv: filepath.Join(dir, "srv")}
	s.db.Super(t, "ALTER DATABASE "+s.db.Name+" SET timezone TO 'UTC'",
		"CREATE FUNCTION app.is_stale(timestamptz) RETURNS bool STABLE LANGUAGE sql AS $$ SELECT $1 < now() - interval '30 days' $$",
		"GRANT USAGE ON SCHEMA app TO "+s.db.Worker)
	s.start(t, binary, filepath.Join(dir, "data"))
	s.db.Super(t, "GRANT USAGE ON SCHEMA system TO "+s.db.Owner, "GRANT SELECT ON ALL TABLES IN SCHEMA system TO "+s.db.Owner)
	s.as(t, "owner")
	return s
}

// start runs the product until the test ends.
func (s *site) start(t *testing.T, binary, data string) {
	t.Helper()
	up := product.Start(t, binary, nil, "up", "--data-dir", data, "--database-url", s.db.WorkerURL, "--installation", "app", "--sql-listen", "127.0.0.1:0", "--temporal-listen", "127.0.0.1:0",
		"--ui-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--predicate-functions", "app.is_stale(timestamptz)")
	t.Cleanup(up.Terminate)
	up.Ready()
	s.sqlURL = product.ReadUp(t, data).SQLURL
}

// as opens the session of somebody else.
func (s *site) as(t *testing.T, who string) {
	t.Helper()
	direct := map[string]string{"owner": s.db.OwnerURL, "super": s.db.SuperURL}[who]
	cfg, err := pgconn.ParseConfig(product.Through(t, direct, s.sqlURL))
	must(t, err)
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { s.notices = append(s.notices, n.Severity+":  "+n.Message) }
	if s.session != nil {
		must(t, s.session.Close(context.Background()))
	}
	s.session, err = pgconn.ConnectConfig(t.Context(), cfg)
	must(t, err)
	session := s.session
	t.Cleanup(func() { session.Close(context.Background()) })
}

// hold locks a table so that no job of it can go on.
func (s *site) hold(t *testing.T, table string) {
	t.Helper()
	s.holder = s.db.Connect(t, s.db.SuperURL)
	_, err := s.holder.Exec(t.Context(), "BEGIN; LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE")
	must(t, err)
}

func (s *site) release(t *testing.T) {
	t.Helper()
	_, err := s.holder.Exec(t.Context(), "ROLLBACK")
	must(t, err)
}

// run sends a text and prints its answers as psql would, wide rows as blocks.
func (s *site) run(t *testing.T, sql string) string {
	t.Helper()
	// Folders of the page are below a folder of the test.
	return strings.ReplaceAll(s.send(t, strings.ReplaceAll(sql, "/srv/", s.srv+"/")), s.srv+"/", "/srv/")
}

func (s *site) send(t *testing.T, sql string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.notices = nil
	results, err := s.session.Exec(ctx, sql).ReadAll()
	lines := append([]string{}, s.notices...)
	for _, r := range results {
		if r.Err == nil {
			lines = append(lines, table(r)...)
		}
	}
	var pe *pgconn.PgError
	if err != nil && !errors.As(err, &pe) {
		t.Fatalf("%s: %v", sql, err)
	}
	if pe != nil {
		lines = append(lines, pe.Severity+":  "+pe.Message+" (SQLSTATE "+pe.Code+")")
		if pe.Hint != "" {
			lines = append(lines, "HINT:  "+pe.Hint)
		}
	}
	return strings.Join(lines, "\n")
}

// wide is how long a line may be before rows are printed as blocks.
const wide = 170

func table(r *pgconn.Result) []string {
	if len(r.FieldDescriptions) == 0 {
		return []string{r.CommandTag.String()}
	}
	names := make([]string, len(r.FieldDescriptions))
	widths := make([]int, len(names))
	total := 0
	for i, f := range r.FieldDescriptions {
		names[i], widths[i] = f.Name, utf8.RuneCountInString(f.Name)
		for _, row := range r.Rows {
			widths[i] = max(widths[i], utf8.RuneCount(row[i]))
		}
		total += widths[i] + 3
	}
	if total > wide {
		return blocks(names, r.Rows)
	}
	cells := make([][]string, 0, len(r.Rows))
	for _, row := range r.Rows {
		cell := make([]string, len(row))
		for i, v := range row {
			cell[i] = string(v)
		}
		cells = append(cells, cell)
	}
	lines := []string{line(names, widths), ruler(widths)}
	for _, c := range cells {
		lines = append(lines, line(c, widths))
	}
	return append(lines, count(len(cells)))
}

func line(cells []string, widths []int) string {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = c + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
	}
	return strings.TrimRight(" "+strings.Join(out, " | "), " ")
}

func ruler(widths []int) string {
	out := make([]string, len(widths))
	for i, w := range widths {
		out[i] = strings.Repeat("-", w+2)
	}
	return strings.Join(out, "+")
}

func blocks(names []string, rows [][][]byte) []string {
	var lines []string
	for n, row := range rows {
		lines = append(lines, fmt.Sprintf("-[ RECORD %d ]--", n+1))
		for i, v := range row {
			lines = append(lines, strings.TrimRight(fmt.Sprintf("%-19s | %s", names[i], v), " "))
		}
	}
	return append(lines, count(len(rows)))
}

func count(n int) string {
	if n == 1 {
		return "(1 row)"
	}
	return fmt.Sprintf("(%d rows)", n)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
