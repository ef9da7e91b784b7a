package show

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/spillwaydb/spillway/internal/cli/clitest"
)

func feed(t *testing.T, s Sink) {
	t.Helper()
	cols := []Column{{"id", pgtype.Int8OID}, {"note", pgtype.TextOID}, {"ok", pgtype.BoolOID}, {"doc", pgtype.JSONOID}, {"f", pgtype.Float8OID}}
	for _, err := range []error{
		s.Begin(cols),
		s.Row([][]byte{[]byte("1"), []byte("a \"b\"\n<é>\x1b"), []byte("t"), []byte("{\"a\":\n 1}"), []byte("NaN")}),
		s.Row([][]byte{[]byte("1000"), nil, []byte("f"), nil, []byte("-0.5")}),
		s.End("SELECT 2"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	feed(t, &Table{W: &b})
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
	feed(t, &Table{W: &b, Width: 20})
	clitest.Contains(t, b.String(), "-[ 1 ]---+------\nid   | 1\n", "-[ 2 ]---+------\nid   | 1000\nnote | \n")
}

func TestTagOnly(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	s := &Table{W: &b}
	if s.Begin(nil) != nil || s.End("CREATE TABLE") != nil || b.String() != "CREATE TABLE\n" {
		t.Errorf("got %q", b.String())
	}
}

func TestJSONLines(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	feed(t, &JSON{W: &b})
	want := `{"id":1,"note":"a \"b\"\n<é>\u001b","ok":true,"doc":{"a":1},"f":"NaN"}` + "\n" +
		`{"id":1000,"note":null,"ok":false,"doc":null,"f":-0.5}` + "\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	s := &CSV{W: csv.NewWriter(&b)}
	feed(t, s)
	feed(t, s) // as for several ids: the names stand once
	row := "1,\"a \"\"b\"\"\n<é>\x1b\",t,\"{\"\"a\"\":\n 1}\",NaN\n1000,,f,,-0.5\n"
	if want := "id,note,ok,doc,f\n" + row + row; b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestTableModes(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	feed(t, &Table{W: &b, Expanded: ExpandOn, Null: "∅"})
	clitest.Contains(t, b.String(), "-[ 2 ]---+------\nid   | 1000\nnote | ∅\n")
	b.Reset()
	feed(t, &Table{W: &b, Width: 20, Expanded: ExpandOff})
	clitest.Contains(t, b.String(), " id   | note ", "(2 rows)\n")
	b.Reset()
	s := &Table{W: &b, Expanded: ExpandOn}
	if s.Begin([]Column{{"id", pgtype.Int8OID}}) != nil || s.End("SELECT 0") != nil || b.String() != "(0 rows)\n" {
		t.Errorf("no rows: %q", b.String())
	}
}
