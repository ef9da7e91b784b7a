package sqlfront

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// SQLSTATEs about columns.
const (
	codeUndefinedColumn = "42703"
	codeAmbiguousColumn = "42702"
)

// timeColumn is a column that could have an age, or the one that a statement names.
type timeColumn struct {
	name     string
	base     string // oid of the type, after domains
	declared string
	selects  bool // the actor may read it
}

// zoned reports whether its values are moments, whatever the time zone.
func (c timeColumn) zoned() bool { return c.base == "1184" }

func (c timeColumn) aged() bool { return c.zoned() || c.base == "1114" || c.base == "1082" }

// counted reports whether it holds whole numbers, such as a sequence gives: they tell what is newer, and no age.
func (c timeColumn) counted() bool { return c.base == "20" || c.base == "21" || c.base == "23" }

// settleAges checks OLDER THAN and keep_rows, and puts into the parameters what they mean: the interval, the column, and the time
// zone where the interval counts. The limits themselves are not among them, so that the same statement a second later still asks
// for the same work. They are worked out when the job is planned, that of the interval from the time when it was asked for.
func (r *request) settleAges(ctx context.Context, t target, a *parse.Age, opts []parse.Option, params map[string]string) error {
	keep, named := optionNamed(opts, "keep_rows"), optionNamed(opts, "age_column")
	switch {
	case a == nil && keep.Name == "" && named.Name == "":
		return nil
	case a == nil && keep.Name == "":
		return &pgwire.Error{Code: codeInvalidValue, Position: named.Pos, Message: "age_column goes with older_than or keep_rows",
			Hint: "FLUSH TABLE … OLDER THAN '7 days' ON column names the column too"}
	case a != nil && a.Column != "" && named.Name != "" && a.Column != named.Value:
		return &pgwire.Error{Code: codeInvalidValue, Position: named.ValuePos, Message: "rows cannot be told by two columns how old they are: \"" + a.Column + "\" and \"" + named.Value + "\""}
	}
	look := &parse.Age{IntervalPos: keep.Pos}
	if a != nil {
		copied := *a
		look = &copied
	}
	if look.Column == "" && named.Name != "" {
		look.Column, look.ColumnPos = named.Value, named.ValuePos
	}
	return r.pinned(ctx, func() error {
		c, err := r.ageColumn(ctx, t, look, a == nil, a != nil && optionNamed(opts, "older_than").Name == "")
		if err != nil {
			return err
		}
		params["age_column"] = c.name
		if a == nil {
			return nil
		}
		interval, calendar, err := r.interval(ctx, a)
		if err != nil {
			return err
		}
		params["older_than"] = interval
		// A number of seconds before now is the same moment everywhere.
		if zone := r.up.Setting("TimeZone"); !isUTC(zone) && (calendar || !c.zoned()) {
			params["time_zone"] = zone
		}
		return nil
	})
}

// ageColumn finds the column: the one that is named, or the only one that holds times. One that only orders
// the rows may hold numbers. clause: OLDER THAN is one of the statement's.
func (r *request) ageColumn(ctx context.Context, t target, a *parse.Age, orders, clause bool) (timeColumn, error) {
	rows, err := r.up.Query(ctx, `
		WITH RECURSIVE base AS (
			SELECT a.attnum, a.attname, a.atttypid AS typ, format_type(a.atttypid, a.atttypmod) AS declared FROM pg_attribute AS a
			WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL
			SELECT b.attnum, b.attname, y.typbasetype, b.declared FROM base AS b JOIN pg_type AS y ON y.oid = b.typ WHERE y.typtype = 'd')
		SELECT b.attname, b.typ, b.declared, has_column_privilege($1::oid, b.attnum, 'SELECT')
		FROM base AS b JOIN pg_type AS y ON y.oid = b.typ
		WHERE y.typtype <> 'd' AND (b.typ IN (1184, 1114, 1082) OR b.attname = $2::name) ORDER BY b.attnum`, t.oid, a.Column)
	if err != nil {
		return timeColumn{}, err
	}
	var named *timeColumn
	var aged []timeColumn
	for _, row := range rows {
		c := timeColumn{name: str(row[0]), base: str(row[1]), declared: str(row[2]), selects: str(row[3]) == "t"}
		if c.aged() {
			aged = append(aged, c)
		}
		if c.name == a.Column {
			named = &c
		}
	}
	c, err := chooseAge(t, a, named, aged, orders, clause)
	if err == nil && !c.selects {
		err = &pgwire.Error{Code: codePrivilege, Position: agePos(a), Message: fmt.Sprintf("permission denied for column \"%s\"", c.name),
			Hint: "who may not read the times may not learn from them which rows move"}
	}
	return c, err
}

func agePos(a *parse.Age) int {
	if a.Column != "" {
		return a.ColumnPos
	}
	return a.IntervalPos
}

func chooseAge(t target, a *parse.Age, named *timeColumn, aged []timeColumn, orders, clause bool) (timeColumn, error) {
	fail := func(code, hint, format string, args ...any) (timeColumn, error) {
		return timeColumn{}, &pgwire.Error{Code: code, Position: agePos(a), Hint: hint, Message: fmt.Sprintf(format, args...)}
	}
	names := make([]string, len(aged))
	for i, c := range aged {
		names[i] = parse.QuoteName(c.name)
	}
	which := "it has none of type timestamptz, timestamp or date; a WHERE clause takes any condition"
	if len(aged) > 0 {
		which = "columns with a time are " + strings.Join(names, ", ")
	}
	switch {
	case a.Column != "" && named == nil:
		return fail(codeUndefinedColumn, which, "column \"%s\" of relation \"%s\" does not exist", a.Column, t.table)
	case named != nil && orders && named.counted():
		return *named, nil
	case named != nil && orders && !named.aged():
		return fail(codeMismatch, "times and whole numbers do", "column \"%s\" is of type %s, which does not tell which rows are the newest", named.name, named.declared)
	case named != nil && !named.aged():
		return fail(codeMismatch, which, "column \"%s\" is of type %s, which has no age", named.name, named.declared)
	case named != nil:
		return *named, nil
	case len(aged) == 0:
		return fail(codeUndefinedColumn, which, "relation \"%s\" has no column that tells how old a row is", t.table)
	case len(aged) > 1:
		hint := "name the column: age_column = " + names[0]
		if clause {
			hint = fmt.Sprintf("name the column: %s ON %s", strings.TrimSpace(a.String()), names[0])
		}
		return fail(codeAmbiguousColumn, hint,
			"several columns of relation \"%s\" could tell how old a row is: %s", t.table, strings.Join(names, ", "))
	}
	return aged[0], nil
}

// unreadable is what PostgreSQL says of a value that it cannot read, at the place where the user wrote that. Other errors stay
// as they are.
func unreadable(err error, pos int, hint string) error {
	var e *pgwire.Error
	if !errors.As(err, &e) || !strings.HasPrefix(e.Code, "22") {
		return err
	}
	moved := *e
	moved.Position = pos
	if moved.Hint == "" {
		moved.Hint = hint
	}
	return &moved
}

// interval lets PostgreSQL read the interval, as the client's settings have it, and spells it so that it reads the same
// everywhere. calendar means that it counts days or months, whose length depends on the time zone.
func (r *request) interval(ctx context.Context, a *parse.Age) (text string, calendar bool, err error) {
	rows, err := r.up.Query(ctx, `
		SELECT isfinite(i), i < '0', extract(year FROM i) * 12 + extract(month FROM i), extract(day FROM i), extract(hour FROM i),
		       extract(minute FROM i) * 60 + extract(second FROM i), now() - i
		FROM (SELECT $1::interval AS i) AS x`, a.Interval)
	if err != nil {
		return "", false, unreadable(err, a.IntervalPos, "for example: OLDER THAN '7 days'")
	}
	v := rows[0]
	bad := func(what string) error {
		return &pgwire.Error{Code: codeInvalidValue, Position: a.IntervalPos, Message: fmt.Sprintf("interval \"%s\" %s", a.Interval, what),
			Hint: "OLDER THAN looks back from now: '7 days' means rows from before the last seven days"}
	}
	switch {
	case str(v[0]) != "t":
		return "", false, bad("is infinite")
	case str(v[1]) == "t":
		return "", false, bad("is negative")
	}
	var parts []string
	for i, unit := range []string{"mons", "days", "hours", "secs"} {
		n := str(v[i+2])
		if strings.Contains(n, ".") {
			n = strings.TrimRight(strings.TrimRight(n, "0"), ".")
		}
		if n == "0" || n == "-0" {
			continue
		}
		parts = append(parts, n+" "+unit)
		calendar = calendar || i < 2
	}
	if len(parts) == 0 {
		parts = []string{"0 secs"}
	}
	return strings.Join(parts, " "), calendar, nil
}
