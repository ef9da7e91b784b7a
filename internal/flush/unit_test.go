package flush

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/option"
)

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
		var bad *option.Error
		if !errors.As(err, &bad) || bad.Option != name || !strings.Contains(err.Error(), name) {
			t.Errorf("%s = %s: %v, want an OptionError that names it", name, value, err)
		}
	}
	_, err = ParseOptions(map[string]string{"chunk_bytes": "99999999999GB"})
	if err == nil {
		t.Error("a size beyond 64 bits is taken")
	}
	var bad *option.Error
	if _, err := ParseOptions(map[string]string{"colour": "red"}); !errors.As(err, &bad) || !strings.Contains(bad.Hint, "chunk_bytes") {
		t.Errorf("the hint for an unknown option does not list the known ones: %v", err)
	}
}

func TestLayoutOptions(t *testing.T) {
	t.Parallel()
	o, err := ParseOptions(map[string]string{"path": "{table}", "partition_by": "a, day(b)", "order_by": "c DESC", "bloom": "d", "file_bytes": "1MB",
		"row_group_bytes": "2MB", "row_group_rows": "1000", "codec": "snappy"})
	want := layout.Layout{Path: "{table}", PartitionBy: "a, day(b)", OrderBy: "c DESC", Bloom: "d", FileBytes: 1 << 20, RowGroupBytes: 2 << 20, RowGroupRows: 1000, Codec: "snappy"}
	if err != nil || o.Layout != want {
		t.Errorf("got %+v, %v", o.Layout, err)
	}
	for _, c := range []struct{ name, value, item, want string }{
		{"path", "{x}", "", "unknown variable {x}"},
		{"partition_by", "a, week(b)", "week(b)", "unknown function week"},
		{"partition_by", "a DESC", "a DESC", "order_by"},
		{"partition_by", "a, b, a", "a", "twice"},
		{"order_by", "day(a)", "day(a)", "expected a column"},
		{"order_by", "a, a DESC", "a DESC", "twice"},
		{"bloom", "a DESC", "a DESC", "no order"},
		{"bloom", "day(a)", "day(a)", "expected a column"},
		{"file_bytes", "1kB", "", "size"},
		{"row_group_bytes", "1GB", "", "size"},
		{"row_group_rows", "1", "", "number"},
		{"codec", "gzip", "", "zstd, snappy, none"},
	} {
		_, err := ParseOptions(map[string]string{c.name: c.value})
		var bad *option.Error
		if !errors.As(err, &bad) || bad.Option != c.name || bad.Item != c.item || !strings.Contains(bad.Msg, c.want) {
			t.Errorf("%s = %s: %#v", c.name, c.value, err)
		}
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
