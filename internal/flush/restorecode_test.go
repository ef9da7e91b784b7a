package flush_test

import (
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/jobstep"
)

// A52: what INSERT evaluates runs with the worker's rights, so a table's owner may not make it his own code.
func TestCodeOfTheOwnerIsNotRun(t *testing.T) {
	t.Parallel()
	const evil = "CREATE FUNCTION app.evil(anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END'"
	for _, c := range []struct {
		name, setup, says string
		fine              bool
	}{
		{"check", "ALTER TABLE app.t ADD CONSTRAINT c CHECK (app.evil(id)) NOT VALID", "constraint c", false},
		{"check with SQL in a function of PostgreSQL's", "ALTER TABLE app.t ADD CONSTRAINT c CHECK (query_to_xml('SELECT 1', true, true, '') IS NOT NULL) NOT VALID", "constraint c", false},
		{"check by an operator", "CREATE OPERATOR app.=== (FUNCTION = app.evil2, LEFTARG = bigint, RIGHTARG = bigint); ALTER TABLE app.t ADD CONSTRAINT c CHECK (id OPERATOR(app.===) id) NOT VALID", "constraint c", false},
		{"index", "CREATE INDEX i ON app.t (app.evil(id))", "index app.i", false},
		{"partial index", "CREATE INDEX i ON app.t (id) WHERE app.evil(id)", "index app.i", false},
		{"domain", "CREATE DOMAIN app.d AS int CHECK (app.evil(VALUE)); ALTER TABLE app.t ADD COLUMN d app.d", "domain app.d", false},
		{"array of a domain", "CREATE DOMAIN app.d AS int CHECK (app.evil(VALUE)); ALTER TABLE app.t ADD COLUMN d app.d[]", "domain app.d", false},
		{"generated column", "ALTER TABLE app.t ADD COLUMN g boolean GENERATED ALWAYS AS (app.evil(id)) STORED", "generated column g", false},
		{"default that is needed", "ALTER TABLE app.t ADD COLUMN g boolean; ALTER TABLE app.t ALTER g SET DEFAULT app.evil(1)", "default of column g", false},
		{"default that is not needed", "ALTER TABLE app.t ALTER note SET DEFAULT app.evil(1)::text", "", true},
		{"cast to a domain", "CREATE DOMAIN app.d AS int CHECK (app.evil(VALUE)); ALTER TABLE app.t ADD CONSTRAINT c CHECK (tenant::app.d > 0) NOT VALID", "constraint c", false},
		{"PostgreSQL's own", "ALTER TABLE app.t ADD CHECK (id > 0 AND note ~ '^note' AND lower(note) = note AND tenant IN (0, 1, 2, 3, 4, 5, 6) AND at > '2020-01-01'::date AND id::text <> ''); " +
			"CREATE INDEX ON app.t (lower(note)) WHERE tenant > 2; ALTER TABLE app.t ADD COLUMN n bigserial; ALTER TABLE app.t ADD COLUMN u uuid DEFAULT gen_random_uuid(); ALTER TABLE app.t ADD COLUMN c timestamptz DEFAULT now()", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRestoreRig(t, events, fill(10), evil, "CREATE FUNCTION app.evil2(bigint, bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT app.evil(1)'")
			r.newJob().run()
			r.db.Exec(t, strings.Split(c.setup, "; ")...)
			r.db.Exec(t, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA app TO "+r.db.Worker)
			r.want = nil
			j, err := r.restoreJob(nil)
			if err == nil {
				_, err = j.segment(0)
			}
			if c.fine {
				if err != nil {
					t.Error(err)
				}
				must(t, r.sweepAndFinish(j, "completed"))
				return
			}
			if jobstep.ClassOf(err).Name != jobstep.ClassRefused || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want refused for its %s", err, c.says)
			}
		})
	}
}
