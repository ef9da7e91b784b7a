package flush

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// In a database whose text is converted on its way, the lengths in hstore's binary form are wrong: it comes as text.
func TestHstoreByEncoding(t *testing.T) {
	t.Parallel()
	for encoding, asText := range map[string]bool{"UTF8": false, "SQL_ASCII": false, "LATIN1": true} {
		tab := &hot.Table{Encoding: encoding, Columns: []hot.Column{
			{Number: 1, Name: "h", TypeOID: 70001, BaseOID: 70001, TypMod: -1, TypeName: "hstore", TypeKind: 'b', Extension: "hstore"},
			{Number: 2, Name: "hs", TypeOID: 70002, BaseOID: 70002, TypMod: -1, TypeName: "_hstore", TypeKind: 'b', HasElem: true,
				Elem: &hot.Type{TypeOID: 70001, BaseOID: 70001, TypMod: -1, TypeName: "hstore", TypeKind: "b", Extension: "hstore"}},
		}}
		s, err := schemaOf(tab, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s.AsText(0) != asText || s.AsText(1) != asText {
			t.Errorf("%s: as text: %v, %v", encoding, s.AsText(0), s.AsText(1))
		}
	}
}

func TestParseOptions(t *testing.T) {
	t.Parallel()
	o, err := ParseOptions(map[string]string{
		"parallelism": "4", "chunk_bytes": "8MB", "lock_timeout": "50", "verify": "full", "triggers": "fire", "replicate": "on",
		"skip_referenced": "true", "storage": "archive", "on_unrepresentable": "null", "where": "(id > 1)", "as_text": `tags, "Odd, ""name""", tags`,
	})
	want := Options{Where: "(id > 1)", Parallelism: 4, ChunkBytes: 8 << 20, LockTimeout: 50 * time.Millisecond, VerifyFull: true,
		FireTriggers: true, Replicate: true, SkipReferenced: true, Storage: "archive", NullUnrepresent: true, AsText: []string{"tags", `Odd, "name"`}, ChunkTime: DefaultChunkTime}
	if err != nil || !reflect.DeepEqual(o, want) {
		t.Errorf("got %+v, %v; want %+v", o, err, want)
	}
	if o, err := ParseOptions(nil); err != nil || o.Parallelism != jobstep.DefaultParallelism || o.ChunkBytes != DefaultChunkBytes {
		t.Errorf("defaults: %+v, %v", o, err)
	}
	for name, value := range map[string]string{
		"parallelism": "0", "chunk_bytes": "1kB", "lock_timeout": "1h", "verify": "half", "triggers": "maybe", "replicate": "2",
		"as_text": "a b", "on_unrepresentable": "drop", "colour": "red",
	} {
		_, err := ParseOptions(map[string]string{name: value})
		var bad *OptionError
		if !errors.As(err, &bad) || bad.Option != name || !strings.Contains(err.Error(), name) {
			t.Errorf("%s = %s: %v, want an OptionError that names it", name, value, err)
		}
	}
	_, err = ParseOptions(map[string]string{"chunk_bytes": "99999999999GB"})
	if err == nil {
		t.Error("a size beyond 64 bits is taken")
	}
	var bad *OptionError
	if _, err := ParseOptions(map[string]string{"colour": "red"}); !errors.As(err, &bad) || !strings.Contains(bad.Hint, "chunk_bytes") {
		t.Errorf("the hint for an unknown option does not list the known ones: %v", err)
	}
}

func TestMannersOptions(t *testing.T) {
	t.Parallel()
	o, err := ParseOptions(map[string]string{"max_rows_per_second": "500", "chunk_time": "2000", "max_replication_lag": "536870912B", "max_lock_waiters": "0"})
	if err != nil || o.MaxRowsPerSecond != 500 || o.ChunkTime != 2*time.Second || o.MaxLagBytes != 512<<20 || o.MaxLagTime != 0 || *o.MaxLockWaiters != 0 || !o.checksLoad() {
		t.Errorf("%+v %v", o, err)
	}
	o, err = ParseOptions(map[string]string{"chunk_time": "off", "max_replication_lag": "30000ms"})
	if err != nil || o.ChunkTime != 0 || o.MaxLagBytes != 0 || o.MaxLagTime != 30*time.Second {
		t.Errorf("%+v %v", o, err)
	}
	if o, err = ParseOptions(nil); err != nil || o.ChunkTime != DefaultChunkTime || o.checksLoad() || o.MaxRowsPerSecond != 0 {
		t.Errorf("%+v %v", o, err)
	}
	for name, values := range map[string][]string{
		"max_rows_per_second": {"0", "-5", "1e3", "2000000000", ""}, "chunk_time": {"5ms", "2h", "x", ""},
		"max_replication_lag": {"5", "0MB", "-1s", "48h", "MB", "", "99999999999GB"}, "max_lock_waiters": {"-1", "10001", "1.5", ""},
	} {
		for _, v := range values {
			if _, err := ParseOptions(map[string]string{name: v}); err == nil {
				t.Errorf("%s = %q is taken", name, v)
			}
		}
	}
}

func TestObjectKeyEndsInTheAttempt(t *testing.T) {
	t.Parallel()
	job, attempt := uuid.New(), uuid.New()
	prefix := "app/t/" + baseName(time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), job, 7, attempt)
	want := fmt.Sprintf("app/t/2026-01-02T03-04-05.006Z-%s-00007-%s", job, attempt)
	if key := objectKey(prefix); key != want+".parquet" {
		t.Errorf("key %q, want %q", key, want+".parquet")
	}
	if key := partKey(prefix, 12); key != want+"-00012.parquet" {
		t.Errorf("key %q, want %q", key, want+"-00012.parquet")
	}
}
