package command

import (
	"bytes"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

func feed(t *testing.T, s sink) {
	t.Helper()
	cols := []column{{"id", pgtype.Int8OID}, {"note", pgtype.TextOID}, {"ok", pgtype.BoolOID}, {"doc", pgtype.JSONOID}, {"f", pgtype.Float8OID}}
	for _, err := range []error{
		s.begin(cols),
		s.row([][]byte{[]byte("1"), []byte("a \"b\"\n<é>\x1b"), []byte("t"), []byte("{\"a\":\n 1}"), []byte("NaN")}),
		s.row([][]byte{[]byte("1000"), nil, []byte("f"), nil, []byte("-0.5")}),
		s.end("SELECT 2"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	feed(t, &tableSink{w: &b})
	want := strings.Join([]string{
		` id   | note           | ok | doc        | f`,
		`------+----------------+----+------------+------`,
		`    1 | a "b"\n<é>\x1b | t  | {"a":\n 1} |  NaN `,
		` 1000 |                | f  |            | -0.5 `,
		`(2 rows)`, ``,
	}, "\n")
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestTableTooWide(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	feed(t, &tableSink{w: &b, width: 20})
	mustContain(t, b.String(), "-[ 1 ]---+------\nid   | 1\n", "-[ 2 ]---+------\nid   | 1000\nnote | \n")
}

func TestTagOnly(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	s := &tableSink{w: &b}
	if s.begin(nil) != nil || s.end("CREATE TABLE") != nil || b.String() != "CREATE TABLE\n" {
		t.Errorf("got %q", b.String())
	}
}

func TestJSONLines(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	feed(t, &jsonSink{w: &b})
	want := `{"id":1,"note":"a \"b\"\n<é>\u001b","ok":true,"doc":{"a":1},"f":"NaN"}` + "\n" +
		`{"id":1000,"note":null,"ok":false,"doc":null,"f":-0.5}` + "\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	jobs := []rowMap{
		{"status": "pending"},
		{"status": "running", "progress": "0.31", "rows_flushed": "61234", "rows_total": "200000", "segments": "4", "bytes_written": "1234567"},
		{"status": "running", "progress": "0.32", "rows_flushed": "61235", "rows_total": "200000", "segments": "4", "bytes_written": "1234567"},
		{"status": "completed", "progress": "1", "rows_flushed": "200000", "rows_total": "200000", "segments": "9", "bytes_written": "4234567"},
	}
	var plain, bar bytes.Buffer
	for _, p := range []*progress{{w: &plain}, {w: &bar, bar: true}} {
		for _, j := range jobs {
			p.show(j)
		}
		p.done()
	}
	want := "pending      0 %  0 rows, 0 segments, 0 B\n" +
		"running     31 %  61 234 of 200 000 rows, 4 segments, 1.2 MB\n" +
		"completed  100 %  200 000 of 200 000 rows, 9 segments, 4.2 MB\n"
	if plain.String() != want {
		t.Errorf("plain:\n%s\nwant:\n%s", plain.String(), want)
	}
	mustContain(t, bar.String(), "\r\x1b[K[#######.................] running     31 %", "[########################] completed")
	if !strings.HasSuffix(bar.String(), "\n") {
		t.Error("the bar's last line has no end")
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "0", "7": "7", "1234": "1 234", "-1234567": "-1 234 567", "123456": "123 456", "1e9": "1e9"} {
		if got := groups(in); got != want {
			t.Errorf("groups(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLiteral(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a": "'a'", "it's": "'it''s'", `a\'b`: ` E'a\\''b'`} {
		if got := literal(in); got != want {
			t.Errorf("literal(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestDisplayWidth(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{"": 0, "abc": 3, "é": 1, "e\u0301": 1, "日本": 4, "한": 2, "…": 1, "😀": 2} {
		if got := displayWidth(in); got != want {
			t.Errorf("displayWidth(%q) = %d, want %d", in, got, want)
		}
	}
}

func TestTableModes(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	feed(t, &tableSink{w: &b, expanded: expandOn, null: "∅"})
	mustContain(t, b.String(), "-[ 2 ]---+------\nid   | 1000\nnote | ∅\n")
	b.Reset()
	feed(t, &tableSink{w: &b, width: 20, expanded: expandOff})
	mustContain(t, b.String(), " id   | note ", "(2 rows)\n")
	b.Reset()
	s := &tableSink{w: &b, expanded: expandOn}
	if s.begin([]column{{"id", pgtype.Int8OID}}) != nil || s.end("SELECT 0") != nil || b.String() != "(0 rows)\n" {
		t.Errorf("no rows: %q", b.String())
	}
}
