package sqlfront

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// checkPredicate lets PostgreSQL read a predicate, on the client's session and with the client's rights and settings, and
// returns it as PostgreSQL prints it: with nothing in it that depends on who reads it. It becomes a temporary view, whose
// stored tree is checked, and which is gone before checkPredicate returns.
//
//   - The tree may call only functions of PostgreSQL's own that do not read anything but their arguments: see allow.go.
//   - Names are qualified where needed, and constants hold what they meant under the client's settings.
//   - Columns are not qualified, for a partition has another name than its table. now() and its like are constants: a
//     flush takes what matched when it was asked for.
//   - The printed text is read once more, and its tree checked again: that is the tree which the worker will have.
//   - Until then the table's owner may change the types of columns, and so what a name in the text stands for. So the text
//     ends in a clause that costs nothing and cannot be read if a column is no longer of its kind: see guard.
func (r *request) checkPredicate(ctx context.Context, t target, p *parse.Predicate) (string, error) {
	use := &predicateUse{what: r.verb() + " TABLE … WHERE"}
	if r.repeated {
		use.clock = "a predicate that is used again and again cannot ask for the time: now() would stay what it is today"
		use.instead = "OLDER THAN '7 days' ON column counts from each run"
	}
	return r.checkPredicateOf(ctx, t, p, use)
}

// predicateUse is where a predicate stands.
type predicateUse struct {
	what    string // for errors
	clock   string // why now() has no place in it; "": it means the time of the statement
	instead string // what to write then
}

func (r *request) checkPredicateOf(ctx context.Context, t target, p *parse.Predicate, use *predicateUse) (string, error) {
	c := &checker{request: r, table: t, pred: p, use: use, id: "spillway_" + strings.ToLower(rand.Text()[:12])}
	begin, end := "BEGIN READ WRITE", []string{"ROLLBACK"}
	switch r.up.Block() {
	case pgwire.Implicit:
		return "", &pgwire.Error{Code: codeNotSupported, Position: p.Pos, Message: use.what + " cannot follow other statements in a pipeline",
			Hint: "send it by itself, or inside BEGIN … COMMIT"}
	case pgwire.Open:
		begin, end = "SAVEPOINT "+c.id, []string{"ROLLBACK TO SAVEPOINT " + c.id, "RELEASE SAVEPOINT " + c.id}
	default:
		if err := r.up.Release(); err != nil {
			return "", err
		}
	}
	if _, err := r.up.Query(ctx, begin); err != nil {
		return "", err
	}
	text, err := c.check(ctx)
	if err != nil && end[0] != "ROLLBACK" {
		return "", err // it fails the client's transaction anyway
	}
	for _, sql := range end {
		if _, endErr := r.up.Query(context.WithoutCancel(ctx), sql); endErr != nil {
			return "", errors.Join(err, endErr)
		}
	}
	return text, err
}

type checker struct {
	*request
	table   target
	pred    *parse.Predicate
	use     *predicateUse
	id      string   // a name that nobody else uses
	columns []string // numbers of the columns that the predicate uses
}

// quote spells a name with quotes, whatever it is.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func (c *checker) from() string {
	return " FROM ONLY " + quote(c.table.table.Namespace) + "." + quote(c.table.table.Name)
}

func (c *checker) view(n int) string { return fmt.Sprintf("pg_temp.%s_%d", c.id, n) }

// create makes a view over the predicate. Its errors point into the client's statement.
func (c *checker) create(ctx context.Context, head, tail string) error {
	head = "CREATE TEMPORARY VIEW " + head + " (\n"
	_, err := c.up.Query(ctx, head+c.pred.Text+"\n)"+tail)
	return c.order(moveInto(err, c.pred, head))
}

// order adds what to do where the options were written after the predicate.
func (c *checker) order(err error) error {
	var e *pgwire.Error
	if !errors.As(err, &e) || e.Code != parse.SyntaxError || e.Hint != "" {
		return err
	}
	if text, at := []rune(c.pred.Text), int(e.Position-c.pred.Pos); at < 0 || at+4 > len(text) || !strings.EqualFold(string(text[at:at+4]), "WITH") {
		return err
	}
	hinted := *e
	hinted.Hint = "options go before WHERE: WITH (…) WHERE …"
	return &hinted
}

func (c *checker) check(ctx context.Context) (string, error) {
	// In a WHERE clause, PostgreSQL refuses what has no place there, by its own words.
	if err := c.create(ctx, c.view(1)+" AS SELECT 1 AS c"+c.from()+" WHERE", ""); err != nil {
		return "", err
	}
	// As a column, its text stands between two known ones.
	if err := c.create(ctx, c.view(2)+" AS SELECT", " AS "+c.id+c.from()); err != nil {
		return "", err
	}
	zone := c.up.Setting("TimeZone")
	utc := isUTC(zone)
	style := utc && c.up.Setting("DateStyle") == "ISO, MDY" && c.up.Setting("IntervalStyle") == "postgres"
	if _, err := c.up.Query(ctx, `SELECT pg_catalog.set_config(s.name, s.value, true) FROM (VALUES
		('search_path', 'pg_catalog, pg_temp'), ('datestyle', 'ISO, MDY'), ('intervalstyle', 'postgres'), ('timezone', 'UTC'),
		('extra_float_digits', '1'), ('bytea_output', 'hex'), ('lc_monetary', 'C'), ('xmloption', 'content'), ('client_encoding', 'UTF8'),
		('quote_all_identifiers', 'off'), ('standard_conforming_strings', 'on')) AS s (name, value)`); err != nil {
		return "", err
	}
	text, err := c.expression(ctx, c.view(2), c.table.table.Name, utc, style)
	if err != nil {
		return "", c.at(err)
	}
	if text, err = c.settleTime(ctx, text, zone); err != nil {
		return "", c.at(err)
	}
	if text, err = c.guard(ctx, text); err != nil {
		return "", c.at(err)
	}
	// The alias is a name that the text cannot know: if it still reads, its columns are unqualified.
	if _, err := c.up.Query(ctx, "CREATE TEMPORARY VIEW "+c.view(3)+" AS SELECT ("+text+") AS "+c.id+c.from()+" AS "+c.id); err != nil {
		return "", c.at(fmt.Errorf("PostgreSQL does not read its own text of the predicate: %w", err))
	}
	if _, err := c.expression(ctx, c.view(3), c.id, true, true); err != nil {
		return "", c.at(err)
	}
	// Who may not read the columns may not learn from them which rows move.
	if _, err := c.up.Query(ctx, "SELECT 1 FROM "+c.view(2)+" LIMIT 0"); err != nil {
		return "", c.at(err)
	}
	return text, nil
}

// at gives an error the predicate's place.
func (c *checker) at(err error) error {
	e := *sqlError(err, 0)
	e.Position = c.pred.Pos
	return &e
}

// expression checks the tree of a view's column and returns its text with the columns unqualified.
func (c *checker) expression(ctx context.Context, view, qualifier string, utc, style bool) (string, error) {
	rows, err := c.up.Query(ctx, `
		SELECT a.atttypid, format_type(a.atttypid, a.atttypmod), w.ev_action::text, pg_get_viewdef(a.attrelid)
		FROM pg_attribute AS a JOIN pg_rewrite AS w ON w.ev_class = a.attrelid AND w.rulename = '_RETURN'
		WHERE a.attrelid = $1::regclass AND a.attnum = 1`, view)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 {
		return "", fmt.Errorf("find the view of the predicate: %d rows", len(rows))
	}
	if kind := str(rows[0][0]); kind != "16" {
		return "", &pgwire.Error{Code: codeMismatch, Message: "the predicate must be of type boolean, not " + str(rows[0][1])}
	}
	root, err := viewExpression(str(rows[0][2]))
	if err != nil {
		return "", err
	}
	x := &expression{root: root, vouch: c.opt.PredicateFunctions, zone: utc, style: style}
	if err := x.gather(ctx, c.up); err != nil {
		return "", err
	}
	if err := x.check(); err != nil {
		return "", err
	}
	if err := c.checkDependencies(ctx, view); err != nil {
		return "", err
	}
	c.columns = x.columns()
	text, ok := strings.CutPrefix(str(rows[0][3]), " SELECT")
	if !ok {
		return "", fmt.Errorf("PostgreSQL prints views in a way that is not known here")
	}
	i := strings.LastIndex(text, " AS "+c.id+"\n   FROM ")
	if i < 0 {
		return "", fmt.Errorf("PostgreSQL prints views in a way that is not known here")
	}
	return parse.Unqualify(strings.TrimSpace(text[:i]), qualifier)
}

// checkDependencies is the second line of defence: what PostgreSQL says that the view depends on.
func (c *checker) checkDependencies(ctx context.Context, view string) error {
	vouched, err := json.Marshal(append([]string{}, c.opt.PredicateFunctions...))
	if err != nil {
		return err
	}
	rows, err := c.up.Query(ctx, `
		SELECT DISTINCT pg_describe_object(d.refclassid, d.refobjid, 0)
		FROM pg_depend AS d JOIN pg_rewrite AS w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
		WHERE w.ev_class = $1::regclass
		  AND NOT (d.refclassid = 'pg_class'::regclass AND (d.refobjid IN ($1::regclass, $2::oid)
		           OR (SELECT c.relkind FROM pg_class AS c WHERE c.oid = d.refobjid) = 'c'))
		  AND NOT (d.refclassid = 'pg_type'::regclass AND (SELECT t.typtype FROM pg_type AS t WHERE t.oid = d.refobjid) IN ('e', 'b', 'd', 'c'))
		  AND NOT (d.refclassid = 'pg_proc'::regclass AND d.refobjid::regprocedure::text IN (SELECT json_array_elements_text($3::json)))
		  AND d.refclassid <> 'pg_collation'::regclass AND d.refobjid >= 16384`, view, c.table.oid, string(vouched))
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		return refused("the predicate depends on %s, which is not allowed", str(rows[0][0]))
	}
	return nil
}

// guard adds a condition that is always true, and that PostgreSQL drops while planning. But it reads the condition first, and
// COALESCE takes no values of different categories: a column that was given a type of a user's makes it an error.
func (c *checker) guard(ctx context.Context, text string) (string, error) {
	rows, err := c.up.Query(ctx, `
		WITH RECURSIVE base AS (
			SELECT a.attnum, a.attname, a.atttypid AS typ FROM pg_attribute AS a WHERE a.attrelid = $1::oid AND a.attnum = ANY ($2::int2[])
			UNION ALL
			SELECT b.attnum, b.attname, t.typbasetype FROM base AS b JOIN pg_type AS t ON t.oid = b.typ WHERE t.typtype = 'd')
		SELECT quote_ident(b.attname), t.typcategory = 'A' AND t.typelem <> 0,
		       format_type(CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN t.typelem ELSE t.oid END, NULL)
		FROM base AS b JOIN pg_type AS t ON t.oid = b.typ WHERE t.typtype <> 'd' ORDER BY b.attnum`,
		c.table.oid, "{"+strings.Join(c.columns, ",")+"}")
	if err != nil || len(c.columns) == 0 {
		return text, err
	}
	if len(rows) != len(c.columns) {
		return "", fmt.Errorf("find the columns of the predicate: %d of %d", len(rows), len(c.columns))
	}
	var parts []string
	for _, r := range rows {
		column := str(r[0])
		if str(r[1]) == "t" {
			column += "[1]"
		}
		parts = append(parts, "COALESCE("+column+", NULL::"+str(r[2])+") IS NULL")
	}
	return "(" + text + ") AND CASE WHEN true THEN true ELSE " + strings.Join(parts, " OR ") + " END", nil
}

// unguarded drops what guard added, for people.
func unguarded(text string) string {
	if i := strings.LastIndex(text, ") AND CASE WHEN true THEN true ELSE COALESCE("); i > 0 {
		return strings.TrimPrefix(text[:i], "(")
	}
	return text
}

// settleTime replaces now() and its like by what they mean in this statement.
func (c *checker) settleTime(ctx context.Context, text, zone string) (string, error) {
	rows, err := c.up.Query(ctx, `SELECT now()::text, (now() AT TIME ZONE $1)::date::text, (now() AT TIME ZONE $1)::text, statement_timestamp()::text`, zone)
	if err != nil {
		return "", err
	}
	now := "'" + str(rows[0][0]) + "'::timestamp with time zone"
	settled, err := parse.Substitute(text, map[string]string{
		"now()": now, "transaction_timestamp()": now, "CURRENT_TIMESTAMP": now,
		"statement_timestamp()": "'" + str(rows[0][3]) + "'::timestamp with time zone",
		"CURRENT_DATE":          "'" + str(rows[0][1]) + "'::date",
		"LOCALTIMESTAMP":        "'" + str(rows[0][2]) + "'::timestamp without time zone",
	})
	if err == nil && c.use.clock != "" && settled != text {
		return "", &pgwire.Error{Code: codeNotSupported, Message: c.use.clock, Hint: c.use.instead}
	}
	return settled, err
}

// isUTC reports whether a zone's name is one of those without offset and clock changes.
func isUTC(zone string) bool {
	switch strings.ToUpper(zone) {
	case "UTC", "ETC/UTC", "UCT", "ETC/UCT", "ZULU", "ETC/ZULU", "UNIVERSAL", "ETC/UNIVERSAL", "GMT", "ETC/GMT", "ETC/GREENWICH", "GMT0", "ETC/GMT0":
		return true
	}
	return false
}
