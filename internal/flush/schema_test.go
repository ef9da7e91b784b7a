package flush_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/manifest"
)

// A15 A23: columns come, go, get other names and wider types between flushes. Each segment keeps its version, in its footer and
// in the ledger, and the manifest lists them all.
func TestSchemaVersions(t *testing.T) {
	t.Parallel()
	r := newRig(t, "CREATE TABLE app.t (id int, kind text, old int)", "INSERT INTO app.t SELECT i, 'a' || i, i FROM generate_series(1, 10) i")
	r.want = nil // the table's shape changes; what is cold is compared below
	step := func(rows string, ddl ...string) {
		t.Helper()
		r.db.Exec(t, ddl...)
		r.db.Exec(t, rows)
		r.newJob().run()
	}
	r.newJob().run()
	step("INSERT INTO app.t (id, kind, old, extra) SELECT i, 'b', i, ARRAY[i] FROM generate_series(11, 20) i", "ALTER TABLE app.t ADD COLUMN extra int[]")
	step("INSERT INTO app.t (id, kind) SELECT i, 'c' FROM generate_series(21, 30) i", "ALTER TABLE app.t DROP COLUMN old")
	step("INSERT INTO app.t (id, sort) SELECT i, 'd' FROM generate_series(31, 40) i", "ALTER TABLE app.t RENAME COLUMN kind TO sort")
	step("INSERT INTO app.t (id, sort) SELECT 5000000000 + i, 'e' FROM generate_series(1, 10) i", "ALTER TABLE app.t ALTER COLUMN id TYPE bigint")
	step("INSERT INTO app.t (id, sort) SELECT i, 'f' FROM generate_series(51, 60) i") // nothing changed
	step("INSERT INTO app.t (id, sort, old) SELECT i, 'g', 'text' FROM generate_series(61, 70) i", "ALTER TABLE app.t ADD COLUMN old text")

	want := map[int]string{ // columns and field ids by version
		1: "1 id integer, 2 kind text, 3 old integer", 2: "1 id integer, 2 kind text, 3 old integer, 4 extra integer[]", 3: "1 id integer, 2 kind text, 4 extra integer[]",
		4: "1 id integer, 2 sort text, 4 extra integer[]", 5: "1 id bigint, 2 sort text, 4 extra integer[]", 6: "1 id bigint, 2 sort text, 4 extra integer[], 5 old text",
	}
	data, err := os.ReadFile(filepath.Join(r.dir, "app", "t", layout.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	listed := map[int]string{}
	for _, v := range m.SchemaVersions {
		var parts []string
		for _, c := range v.Columns {
			parts = append(parts, itoa(c.FieldID)+" "+c.Name+" "+c.Type)
		}
		listed[v.Version] = strings.Join(parts, ", ")
	}
	if len(listed) != len(want) {
		t.Errorf("the manifest lists versions %v", listed)
	}
	for v, columns := range want {
		if listed[v] != columns {
			t.Errorf("version %d is %q, want %q", v, listed[v], columns)
		}
	}
	files := r.coldFiles()
	var versions []int
	for i, f := range files {
		versions = append(versions, f.SchemaVersion)
		if f.footer.SchemaVersion != f.SchemaVersion || f.Rows != 10 || m.Segments[i].SchemaVersion != f.SchemaVersion {
			t.Errorf("segment %d: footer says version %d, ledger %d, manifest %d", i, f.footer.SchemaVersion, f.SchemaVersion, m.Segments[i].SchemaVersion)
		}
		var parts []string
		for k, c := range f.footer.Columns {
			parts = append(parts, itoa(int(c.AttNum))+" "+c.Name+" "+c.Declared)
			if len(f.rows[0]) != len(f.footer.Columns) {
				t.Errorf("segment %d has rows of %d columns, %d expected, at %d", i, len(f.rows[0]), len(f.footer.Columns), k)
			}
		}
		if got := strings.Join(parts, ", "); got != want[f.SchemaVersion] {
			t.Errorf("segment %d has columns %q, want %q", i, got, want[f.SchemaVersion])
		}
	}
	if !slices.Equal(versions, []int{1, 2, 3, 4, 5, 5, 6}) {
		t.Errorf("versions %v", versions)
	}
	if m.Rows != 70 || len(m.Segments) != 7 || m.Segments[0].Codec != "zstd" || string(m.Segments[0].PartitionValues) != "{}" {
		t.Errorf("manifest of %d rows in %d segments: %+v", m.Rows, len(m.Segments), m.Segments[0])
	}
}
