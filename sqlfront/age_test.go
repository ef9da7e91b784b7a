package sqlfront_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// What OLDER THAN asks for is the interval, the column and, where it counts, the time zone: never a moment.
func TestOlderThan(t *testing.T) { // A6, A17
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE DOMAIN app.moment AS timestamptz",
		"CREATE TABLE app.one (id int, at timestamptz)", "CREATE TABLE app.wrapped (id int, at app.moment)",
		"CREATE TABLE app.wall (id int, at timestamp)", "CREATE TABLE app.days (id int, at date)",
		`CREATE TABLE app.many (id int, "At Last" timestamptz, day date, note text)`)
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	for _, c := range []struct{ zone, sql, want string }{
		{"UTC", "app.one OLDER THAN '7 days'", "age_column=at older_than=7 days"},
		{"UTC", "app.one OLDER THAN '1 week' ON at", "age_column=at older_than=7 days"},
		{"UTC", "app.one OLDER THAN '0'", "age_column=at older_than=0 secs"},
		{"UTC", "app.one OLDER THAN '1 year 2 mons -3 days 04:05:06.5'", "age_column=at older_than=14 mons -3 days 4 hours 306.5 secs"},
		{"UTC", "app.one OLDER THAN 'P1DT2H' WITH (parallelism = 4) WHERE id > 5", "age_column=at older_than=1 days 2 hours parallelism=4 where"},
		{"Europe/Berlin", "app.one OLDER THAN '12 hours'", "age_column=at older_than=12 hours"},
		{"Europe/Berlin", "app.one OLDER THAN '7 days'", "age_column=at older_than=7 days time_zone=Europe/Berlin"},
		{"Europe/Berlin", "app.wrapped OLDER THAN '1 hour'", "age_column=at older_than=1 hours"},
		{"Europe/Berlin", "app.wall OLDER THAN '1 hour'", "age_column=at older_than=1 hours time_zone=Europe/Berlin"},
		{"+02", "app.days OLDER THAN '1 hour'", "age_column=at older_than=1 hours time_zone=<+02>-02"},
		{"Etc/UTC", "app.days OLDER THAN '1 day'", "age_column=at older_than=1 days"},
		{"UTC", `app.many OLDER THAN '1 day' ON "At Last"`, "age_column=At Last older_than=1 days"},
		{"UTC", `app.many OLDER THAN '1 day' ON Day`, "age_column=day older_than=1 days"},
	} {
		for _, setup := range []string{"SET TimeZone = '" + c.zone + "'", "SET IntervalStyle = 'iso_8601'"} {
			if err := exec(t, conn, setup); err != nil {
				t.Fatal(err)
			}
		}
		if err := exec(t, conn, "FLUSH TABLE "+c.sql); err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		params := w.jobs.last().Params
		var got []string
		for _, name := range []string{"age_column", "older_than", "parallelism", "time_zone"} {
			if params[name] != "" {
				got = append(got, name+"="+params[name])
			}
		}
		if params["where"] != "" {
			got = append(got, "where")
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s in %s:\n got %s\nwant %s", c.sql, c.zone, text, c.want)
		}
		w.jobs.endAll()
	}
}

func TestOlderThanTwice(t *testing.T) { // A6
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.one (id int, at timestamptz)")
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	first, err := start(t.Context(), conn, "FLUSH TABLE app.one OLDER THAN '1 week'")
	if err != nil {
		t.Fatal(err)
	}
	again, err := start(t.Context(), conn, "FLUSH TABLE app.one OLDER THAN '7 days' ON at")
	if err != nil || len(again) != 1 || *again[0].JobID != *first[0].JobID || !*again[0].Existing {
		t.Errorf("%+v, %v", again, err)
	}
	if e := pgError(t, exec(t, conn, "FLUSH TABLE app.one OLDER THAN '8 days'")); e.Code != "55006" {
		t.Errorf("another age: %+v", e)
	}
}

func TestOlderThanErrors(t *testing.T) { // A9, A52
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.events (id int, at timestamptz, day date, note text)", "CREATE TABLE app.plain (id int)")
	_, direct := w.user(t, "op", "CREATE ROLE operator_"+w.Name, "GRANT operator_"+w.Name+" TO USER", "GRANT USAGE ON SCHEMA app TO USER")
	t.Cleanup(func() { w.Super(t, "DROP ROLE operator_"+w.Name) })
	owner, operator := w.through(t, w.OwnerURL, pgx.QueryExecModeExec), w.through(t, direct, pgx.QueryExecModeExec)
	for _, c := range []struct {
		conn            *pgx.Conn
		sql, code, hint string
		at              string // where the position points
	}{
		{owner, "app.events OLDER THAN 'soon' ON at", "22007", "7 days", "'soon'"},
		{owner, "app.events OLDER THAN '' ON at", "22007", "7 days", "''"},
		{owner, "app.events OLDER THAN '-1 day' ON at", "22023", "looks back", "'-1 day'"},
		{owner, "app.events OLDER THAN '20000 years' ON at", "22008", "7 days", "'20000"},
		{owner, "app.events OLDER THAN '99999999999 years' ON at", "22015", "7 days", "'99999999999"},
		{owner, "app.events OLDER THAN '7 days' ON nope", "42703", "at, day", "nope"},
		{owner, "app.events OLDER THAN '7 days' ON note", "42804", "at, day", "note"},
		{owner, "app.events OLDER THAN '7 days' ON ctid", "42703", "at, day", "ctid"},
		{owner, "app.events OLDER THAN '7 days'", "42702", "OLDER THAN '7 days' ON at", "'7 days'"},
		{owner, "app.plain OLDER THAN '7 days'", "42703", "WHERE", "'7 days'"},
		{operator, "app.events OLDER THAN '7 days' ON day", "42501", "read", "day"},
	} {
		statement := "FLUSH TABLE " + c.sql
		e := pgError(t, exec(t, c.conn, statement))
		want := strings.LastIndex(statement, c.at) + 1
		if e.Code != c.code || !strings.Contains(e.Hint, c.hint) || int(e.Position) != want {
			t.Errorf("%s: %s at %d (want %d): %s; %s", c.sql, e.Code, e.Position, want, e.Message, e.Hint)
		}
		if got := w.catalog.lastAudit().Outcome; got != c.code {
			t.Errorf("%s: audited as %s", c.sql, got)
		}
	}
	if n := w.jobs.count(); n != 0 {
		t.Errorf("%d jobs", n)
	}
	var path string
	if err := owner.QueryRow(t.Context(), "SHOW search_path").Scan(&path); err != nil || path != `"$user", public` {
		t.Errorf("search_path %s, %v", path, err)
	}
}
