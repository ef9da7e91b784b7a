package layout

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/option"
)

var testPlace = Place{Namespace: "app", Table: "events", Job: "0193d2c4", Asked: time.Date(2026, 3, 4, 23, 0, 0, 0, time.FixedZone("", -7200))}

func text(s string) *string { return &s }

// A20: the path is the substituted template.
func TestPathOfATemplate(t *testing.T) {
	t.Parallel()
	day, hour := text("2025-11-30"), text("2025-11-30 17:00:00")
	for _, c := range []struct {
		template, by, leaf string
		values             []*string
		want               string
	}{
		{DefaultPath, "", "", nil, "app/events"},
		{DefaultPath, "", "events_2025", nil, "app/events/events_2025"},
		{DefaultPath, "tenant_id", "p", []*string{text("7")}, "app/events/p/tenant_id=7"},
		{DefaultPath, "tenant_id, day(at)", "", []*string{nil, day}, "app/events/tenant_id=__HIVE_DEFAULT_PARTITION__/at_day=2025-11-30"},
		{DefaultPath, "tenant_id", "", []*string{text("")}, "app/events/tenant_id="},
		{"{namespace}/{table}/y={yyyy}/{mm}", "", "", nil, "app/events/y=2026/03"},
		{"{yyyy}/{mm}/{dd}", "", "", nil, "2026/03/05"}, // in UTC
		{"{yyyy}/{mm}/{dd}", "day(at)", "", []*string{day}, "2025/11/30"},
		{"{yyyy}/{mm}/{dd}/{column:at}", "month(at), hour(b), at", "", []*string{text("2025-11-01"), hour, text("x")}, "2025/11/30/x"},
		{"{column:at}/{column:at_hour}", "hour(at)", "", []*string{hour}, "2025-11-30T17/2025-11-30T17"},
		{"{column:at}", "month(at)", "", []*string{text("0044-03-01 BC")}, "0044-03%20BC"},
		{"{column:at}", "year(at)", "", []*string{text("infinity")}, "infinity"},
		{"{yyyy}-{mm}", "day(at)", "", []*string{nil}, "__HIVE_DEFAULT_PARTITION__-__HIVE_DEFAULT_PARTITION__"},
		{"cold/{table}-{dd}", "", "", nil, "cold/events-05"},
		{"a b/{table}.d/{job}", "", "", nil, "a%20b/events.d/0193d2c4"},
		{"{shard}/{column:u}", "u", "", []*string{text("ann")}, "67/ann"},
		{"t={column:u}", `"u"`, "", []*string{text("")}, "t=__EMPTY__"},
		{`{column:odd "name", x}`, `"odd ""name"", x"`, "", []*string{text("1")}, "1"},
	} {
		a, err := Arrange(Layout{PartitionBy: c.by}, c.template)
		if err != nil {
			t.Errorf("%s by %s: %v", c.template, c.by, err)
			continue
		}
		p := testPlace
		p.Leaf = c.leaf
		if got, err := a.Dir(p, c.values); err != nil || got != c.want {
			t.Errorf("%s by %s: %q, %v; want %q", c.template, c.by, got, err, c.want)
		}
		if _, err := a.DirForPeople(p); err != nil {
			t.Errorf("%s by %s, for people: %v", c.template, c.by, err)
		}
	}
}

func TestTemplatesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for template, want := range map[string]string{
		"{nobody}/x": "unknown variable {nobody}", "{column:}": "unknown variable", "{table": "{ without }", "table}": "} without {", "": "is empty",
		"../{table}": "begins with a dot", "./{table}": "begins with a dot", ".{table}": "begins with a dot", "/{table}": "has no name", "{table}/": "has no name", "a//b": "has no name",
		"x{partition}": "stands alone", "{table}/manifest.json": "the manifest", strings.Repeat("a/", 16) + "a": "more than 16", strings.Repeat("a", 301): "longer than",
	} {
		err := CheckPath(template)
		var bad *PathError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", template, err, want)
		}
	}
	for _, c := range []struct{ template, by, option, want string }{
		{"{column:x}", "", "path", "partition_by, which is not given"},
		{"{column:x}", "y, day(z)", "path", "known: {column:y} {column:z_day}"},
		{"{column:x}", "month(x), day(x)", "path", "names no item"},
		{"{shard}", "", "path", "not given"},
		{"{mm}", "year(x)", "path", "finer than year(x)"},
		{"{dd}", "month(x)", "path", "finer than month(x)"},
		{DefaultPath, "x_day, day(x)", "partition_by", "two items are called"},
		{DefaultPath, "a, b, c, d, e, f, g, h, i", "partition_by", "more than 8"},
	} {
		_, err := Arrange(Layout{PartitionBy: c.by}, c.template)
		var bad *option.Error
		if !errors.As(err, &bad) || bad.Option != c.option || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s by %s: %v, want one about %s: %q", c.template, c.by, err, c.option, c.want)
		}
	}
	a, err := Arrange(Layout{}, "{partition}")
	if err != nil {
		t.Fatal(err)
	}
	if dir, err := a.Dir(testPlace, nil); err == nil {
		t.Errorf("no directory is left, but %q", dir)
	}
}

// hostile values try to leave their directory, to hide, to bring a variable, or to pass for another value.
var hostile = []string{"..", ".", "../..", "/etc", "a/b", `a\b`, "{table}", ".hidden", "x.parquet", "manifest.json", "é", "%2F", "con", "", " ", "__HIVE_DEFAULT_PARTITION__", "__EMPTY__",
	"%5F_EMPTY__", ".tmp-x", "a\nb", "\x7f", "\xff\xfe", "tenant=1", "~", "a:b", "NUL", "C:\\", strings.Repeat("../", 60), strings.Repeat("ü", 63), strings.Repeat("ü", 62) + "u", strings.Repeat("x", 8000), strings.Repeat("x", 7999) + "y"}

// A20: no value can climb out of its directory, hide, bring a variable of its own or be taken for another one.
func TestNoValueLeavesItsDirectory(t *testing.T) {
	t.Parallel()
	a, err := Arrange(Layout{PartitionBy: "u"}, "top/v={column:u}/{column:u}/end")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	try := func(v *string) {
		name := "NULL"
		if v != nil {
			name = *v
		}
		got, err := a.Dir(testPlace, []*string{v})
		if err != nil {
			t.Errorf("%.80q: %v", name, err)
			return
		}
		dirs := strings.Split(got, "/")
		if len(dirs) != 4 || dirs[0] != "top" || dirs[3] != "end" || !strings.HasPrefix(dirs[1], "v=") || dirs[2] == "" ||
			objstore.CheckKey(got+"/"+strings.Repeat("n", 150)+".parquet") != nil || strings.ContainsAny(got, "\\\x00{}:") || strings.HasPrefix(dirs[2], ".") {
			t.Errorf("%.80q becomes %q", name, got)
		}
		if other, dup := seen[got]; dup && other != name {
			t.Errorf("%.80q and %.80q share %q", name, other, got)
		}
		seen[got] = name
		if back, err := url.PathUnescape(dirs[2]); v != nil && len(*v) < 40 && *v != "" && (err != nil || back != *v) {
			t.Errorf("%q reads back as %q, %v", name, back, err)
		}
	}
	try(nil)
	for i := range hostile {
		try(&hostile[i])
	}
	rng := rand.New(rand.NewPCG(1, 2))
	letters := []rune("./\\%{}_=~-:aA0 é\n\x01")
	for range 20_000 {
		b := make([]rune, rng.IntN(12))
		for i := range b {
			b[i] = letters[rng.IntN(len(letters))]
		}
		v := string(b)
		try(&v)
	}
}

// A20: many long values still give a key that every store takes.
func TestLongPathsAreCut(t *testing.T) {
	t.Parallel()
	names := []string{`"` + strings.Repeat("ä", 31) + `1"`, `"` + strings.Repeat("ä", 31) + `2"`, "c", "d", "e", "f", "g", "h"}
	a, err := Arrange(Layout{PartitionBy: strings.Join(names, ", ")}, "{namespace}/{table}/a/b/c/d/e/f/g/h/i/j/k/l/{partition}/{column:c}{column:d}{column:e}")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, last := range []string{"x", "y"} {
		values := make([]*string, len(names))
		for i := range values {
			values[i] = text(strings.Repeat("%", 4000) + last)
		}
		p := testPlace
		p.Leaf = strings.Repeat("p", 63)
		dir, err := a.Dir(p, values)
		if err != nil || objstore.CheckKey(dir+"/"+strings.Repeat("n", 150)+".parquet") != nil || seen[dir] {
			t.Errorf("%d bytes: %q, %v", len(dir), dir, err)
		}
		seen[dir] = true
	}
}

func TestReadItems(t *testing.T) {
	t.Parallel()
	items, err := readItems(`tenant_id, day(created_at), "a, b" DESC, "q""(x)" NULLS FIRST, x DESC NULLS LAST, hour("odd )")`)
	want := []Item{
		{Text: "tenant_id", Column: "tenant_id"}, {Text: "day(created_at)", Column: "created_at", Unit: "day"}, {Text: `"a, b" DESC`, Column: "a, b", descending: true},
		{Text: `"q""(x)" NULLS FIRST`, Column: `q"(x)`, nulls: "FIRST"}, {Text: "x DESC NULLS LAST", Column: "x", descending: true, nulls: "LAST"},
		{Text: `hour("odd )")`, Column: "odd )", Unit: "hour"},
	}
	if err != nil || len(items) != len(want) {
		t.Fatalf("%+v, %v", items, err)
	}
	for i := range want {
		if items[i] != want[i] {
			t.Errorf("item %d: %+v, want %+v", i, items[i], want[i])
		}
	}
	for _, bad := range []string{",", "a,", "a b", `"a`, "day(a", "day()", "(a)", "a,,b"} {
		if items, err := readItems(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, items)
		}
	}
}

func TestObjectKeyEndsInTheAttempt(t *testing.T) {
	t.Parallel()
	job, attempt := uuid.New(), uuid.New()
	prefix := "app/t/" + BaseName(time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), job, 7, attempt)
	want := fmt.Sprintf("app/t/2026-01-02T03-04-05.006Z-%s-00007-%s", job, attempt)
	if key := ObjectKey(prefix); key != want+".parquet" {
		t.Errorf("key %q, want %q", key, want+".parquet")
	}
	if key := PartKey(prefix, 12); key != want+"-00012.parquet" {
		t.Errorf("key %q, want %q", key, want+"-00012.parquet")
	}
}
