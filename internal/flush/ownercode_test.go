package flush_test

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// spy is the code of a table's owner: it notes, in a way that no rollback undoes, that it ran with other rights than his own.
// A function that is said to be immutable may write nothing, but may call one that may.
var spy = []string{
	"CREATE SEQUENCE app.ran", "GRANT USAGE ON SEQUENCE app.ran TO public",
	`CREATE FUNCTION app.spy() RETURNS void LANGUAGE plpgsql VOLATILE AS
	 $$BEGIN IF NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = 'app.t'::regclass), 'USAGE') THEN PERFORM nextval('app.ran'); END IF; END$$`,
	"CREATE FUNCTION app.evil(anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM app.spy(); RETURN true; END'",
	"CREATE FUNCTION app.evilint(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM app.spy(); RETURN 1; END'",
	"CREATE TYPE app.mood AS ENUM ('good', 'bad')",
	"CREATE FUNCTION app.moodtext(app.mood) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM app.spy(); RETURN ''good''; END'",
	"CREATE FUNCTION app.moodint(app.mood) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM app.spy(); RETURN 1; END'",
	"CREATE DOMAIN app.watched AS int CHECK (app.evil(VALUE))",
}

// ranAsWorker reports whether the spy ran with the worker's rights.
func (r *rig) ranAsWorker() bool {
	return pgtest.Value[bool](r.t, r.db, "SELECT is_called FROM app.ran")
}

// A52: the owner of a table does not get the worker's rights by what a flush makes PostgreSQL evaluate.
func TestFlushRunsNoCodeOfTheOwner(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		setup   []string
		params  map[string]string
		refused bool
	}{
		{"index that the planner folds", []string{"CREATE INDEX i ON app.t ((app.evilint(1) + tenant))"}, nil, true},
		{"predicate of an index that the planner folds", []string{"CREATE INDEX i ON app.t (tenant) WHERE app.evil(1)"}, nil, true},
		{"function in SQL that the planner writes out", []string{
			"CREATE FUNCTION app.outer(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT app.evilint(1) + $1'", "CREATE INDEX i ON app.t (app.outer(tenant))"}, nil, true},
		{"statistics that the planner folds", []string{"CREATE STATISTICS app.s ON (app.evilint(1) + tenant), id FROM app.t"}, nil, true},
		{"constraint that the planner folds", []string{"ALTER TABLE app.t ADD CONSTRAINT c CHECK (app.evil(1)) NOT VALID"}, nil, true},
		{"index of rows", []string{"CREATE INDEX i ON app.t (app.evilint(tenant))"}, nil, false},
		{"constraint on rows", []string{"ALTER TABLE app.t ADD CONSTRAINT c CHECK (app.evil(tenant))"}, nil, false},
		{"domain", []string{"ALTER TABLE app.t ADD COLUMN w app.watched DEFAULT 1"}, nil, false},
		{"generated column", []string{"ALTER TABLE app.t ADD COLUMN g int GENERATED ALWAYS AS (app.evilint(tenant)) STORED"}, nil, false},
		{"cast to text of a value that is text in the file", []string{"CREATE CAST (app.mood AS text) WITH FUNCTION app.moodtext(app.mood) AS IMPLICIT", "ALTER TABLE app.t ADD COLUMN m app.mood[] DEFAULT '{good}'", "ALTER TABLE app.t ADD COLUMN n app.mood DEFAULT 'good'"}, nil, false},
		{"directory of a value with a cast to text", []string{"CREATE CAST (app.mood AS text) WITH FUNCTION app.moodtext(app.mood) AS IMPLICIT", "ALTER TABLE app.t ADD COLUMN n app.mood DEFAULT 'good'"}, map[string]string{"partition_by": "n"}, false},
		{"foreign key with a cast", []string{"CREATE CAST (app.mood AS int) WITH FUNCTION app.moodint(app.mood) AS IMPLICIT", "ALTER TABLE app.t ADD COLUMN code int UNIQUE",
			"CREATE TABLE app.ref (m app.mood REFERENCES app.t (code))", "INSERT INTO app.ref VALUES (NULL)"}, map[string]string{"skip_referenced": "true"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, append(append([]string{events, fill(50)}, spy...), c.setup...)...)
			r.params = c.params
			id := "flush:app.t:" + uuid.NewString()
			plan, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: id, RequestID: r.request(), Generation: 1})
			for n := 0; err == nil && n < plan.Chunks; n++ {
				_, err = r.f.RunChunk(context.Background(), jobstep.ChunkInput{JobID: id, Chunk: n, Attempt: 1}, nil)
			}
			if refused := err != nil && jobstep.ClassOf(err).Name == jobstep.ClassRefused; refused != c.refused || !refused && err != nil {
				t.Errorf("error %v, refused must be %v", err, c.refused)
			}
			if r.ranAsWorker() {
				t.Error("the owner's code ran with the worker's rights")
			}
			r.want = nil
		})
	}
}

// A52: nor by what a restore does. Beside what TestCodeOfTheOwnerIsNotRun holds.
func TestRestoreRunsNoCodeOfTheOwner(t *testing.T) {
	t.Parallel()
	cast := "CREATE CAST (app.mood AS int) WITH FUNCTION app.moodint(app.mood) AS IMPLICIT"
	explicit := "CREATE CAST (app.mood AS text) WITH FUNCTION app.moodtext(app.mood)"
	where := map[string]string{"where": "(id > 5)"}
	for _, c := range []struct {
		name   string
		before []string // the flush
		after  []string
		params map[string]string
	}{
		{"default of a domain", nil, []string{"CREATE DOMAIN app.def AS int DEFAULT app.evilint(1)", "ALTER TABLE app.t ADD COLUMN d app.def DEFAULT 1", "ALTER TABLE app.t ALTER d DROP DEFAULT"}, nil},
		{"text appended by a cast", []string{"ALTER TABLE app.t ADD COLUMN m app.mood DEFAULT 'good'"}, []string{explicit, "ALTER TABLE app.t ADD CONSTRAINT c CHECK (m || 'x'::text <> '') NOT VALID"}, nil},
		{"text appended by a cast, before", []string{"ALTER TABLE app.t ADD COLUMN m app.mood DEFAULT 'good'"}, []string{explicit, "ALTER TABLE app.t ADD CONSTRAINT c CHECK ('x'::text || m <> '') NOT VALID"}, nil},
		{"foreign key with a cast", []string{"ALTER TABLE app.t ADD COLUMN m app.mood DEFAULT 'good'"}, []string{cast, "CREATE TABLE app.pk (code int PRIMARY KEY)", "INSERT INTO app.pk VALUES (1)",
			"ALTER TABLE app.t ADD FOREIGN KEY (m) REFERENCES app.pk (code)"}, nil},
		{"type of a dropped column made a domain", []string{"CREATE TYPE app.was AS (a int)", "ALTER TABLE app.t ADD COLUMN w app.was DEFAULT ROW(1)"},
			[]string{"ALTER TABLE app.t ALTER w DROP DEFAULT", "ALTER TABLE app.t ALTER w TYPE text USING NULL", "DROP TYPE app.was", "CREATE TYPE app.was AS (a app.watched)"}, where},
		{"type of a dropped column made another domain", []string{"CREATE TYPE app.was AS (a int)", "ALTER TABLE app.t ADD COLUMN w app.was DEFAULT ROW(1)"},
			[]string{"ALTER TABLE app.t ALTER w DROP DEFAULT", "ALTER TABLE app.t ALTER w TYPE text USING NULL", "DROP TYPE app.was", "CREATE DOMAIN app.was AS text CHECK (app.evil(VALUE))"}, where},
		{"trigger of a partition", nil, []string{"CREATE FUNCTION app.tg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM app.spy(); RETURN NEW; END'", "CREATE CONSTRAINT TRIGGER tg AFTER INSERT ON app.t INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.tg()"}, nil},
		{"subscript of a composite", []string{"CREATE TYPE app.pair AS (a int, b app.watched)"}, []string{"ALTER TABLE app.t ADD COLUMN p app.pair", "ALTER TABLE app.t ADD CONSTRAINT c CHECK ((ROW(tenant, tenant)::app.pair).b > 0) NOT VALID"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRestoreRig(t, append(append([]string{events, fill(50)}, spy...), c.before...)...)
			r.newJob().run()
			r.want = nil
			r.db.Exec(t, c.after...)
			j, err := r.restoreJob(c.params)
			if err == nil {
				_, err = j.segment(0)
			}
			if jobstep.ClassOf(err).Name != jobstep.ClassRefused {
				t.Errorf("error %v, want refused", err)
			}
			if r.ranAsWorker() {
				t.Error("the owner's code ran with the worker's rights")
			}
		})
	}
}
