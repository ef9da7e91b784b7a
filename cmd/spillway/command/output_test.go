package command

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
	"time"

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
	still := func() time.Time { return time.Unix(0, 0) }
	var plain, bar bytes.Buffer
	for _, p := range []*progress{{w: &plain, now: still}, {w: &bar, bar: true, now: still}} {
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

// Each kind of job counts what it works on, and tells how fast it goes and how long it still takes.
func TestProgressRates(t *testing.T) {
	t.Parallel()
	at := time.Unix(0, 0)
	for id, c := range map[string]struct{ first, last string }{
		"flush:a.b:x":   {"running     25 %  1 000 of 4 000 rows, 1 segment, 10 B", "running     50 %  2 000 of 4 000 rows, 2 segments, 20 B, 100 rows/s, 20s left"},
		"restore:a.b:x": {"running     25 %  1 000 of 4 000 rows, 1 segment, 10 B", "running     50 %  2 000 of 4 000 rows, 2 segments, 20 B, 100 rows/s, 20s left"},
		"verify:a.b:x":  {"running     25 %  20 of 80 segments read", "running     50 %  40 of 80 segments read, 2.0 segments/s, 20s left"},
		"cleanup:x":     {"running     25 %  1 of 4 groups", "running     50 %  2 of 4 groups, 0.1 groups/s, 20s left"},
	} {
		var b bytes.Buffer
		p := &progress{w: &b, now: func() time.Time { return at }}
		job := rowMap{"job_id": id, "status": "running", "progress": "0.25", "rows_flushed": "1000", "rows_total": "4000", "segments": "1", "bytes_written": "10", "chunks_done": "1", "chunks_total": "4"}
		countSegments(job, "80")
		p.show(job)
		at = at.Add(10 * time.Second)
		job["progress"], job["rows_flushed"], job["segments"], job["bytes_written"], job["chunks_done"] = "0.5", "2000", "2", "20", "2"
		countSegments(job, "80")
		p.show(job)
		if got, want := b.String(), c.first+"\n"+c.last+"\n"; got != want {
			t.Errorf("%s:\n%swant\n%s", id, got, want)
		}
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	s := &csvSink{w: csv.NewWriter(&b)}
	feed(t, s)
	feed(t, s) // as for several ids: the names stand once
	row := "1,\"a \"\"b\"\"\n<é>\x1b\",t,\"{\"\"a\"\":\n 1}\",NaN\n1000,,f,,-0.5\n"
	if want := "id,note,ok,doc,f\n" + row + row; b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
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
