package command

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spillwaydb/spillway/internal/segment"
)

// checkOutput refuses an -o that the command does not know. A command with forms of its own says so by an annotation.
func checkOutput(cmd *cobra.Command) error {
	f := cmd.Flags().Lookup("output")
	if f == nil {
		return nil
	}
	forms := formsOf(f)
	if slices.Contains(forms, f.Value.String()) {
		return nil
	}
	last := len(forms) - 1
	return &usageError{msg: fmt.Sprintf("--output %s: expected %s or %s", f.Value, strings.Join(forms[:last], ", "), forms[last]),
		hint: didYouMean(nearest(f.Value.String(), forms))}
}

// formsOf are the words that a flag -o takes.
func formsOf(f *pflag.Flag) []string {
	if own := f.Annotations["forms"]; own != nil {
		return own
	}
	return []string{"table", "json", "csv"}
}

// column heads a column of printed rows.
type column struct {
	name string
	oid  uint32 // PostgreSQL's type, which says how JSON shows the value and whether a table aligns it right
}

// sink takes the rows of one result after another. A nil value is NULL. Values are only valid during the call.
type sink interface {
	begin(cols []column) error
	row(values [][]byte) error
	end(tag string) error // the command tag, "SELECT 3"; a result without columns has only this
}

// newSink returns the sink for cmd's -o.
func newSink(cmd *cobra.Command, env *Env) sink {
	switch out, _ := cmd.Flags().GetString("output"); out {
	case "json":
		return &jsonSink{w: env.Stdout}
	case "csv":
		return &csvSink{w: csv.NewWriter(env.Stdout)}
	}
	return &tableSink{w: env.Stdout, width: env.Width}
}

// expansion says when a row is printed as a block of lines, one per column.
type expansion uint8

const (
	expandAuto expansion = iota // where it does not fit the terminal
	expandOn
	expandOff
)

func (e expansion) String() string { return [...]string{"auto", "on", "off"}[e] }

// tableSink prints aligned text as psql does, or one block per row.
type tableSink struct {
	w        io.Writer
	width    int // 0: as wide as it takes
	expanded expansion
	null     string // stands for NULL
	cols     []column
	rows     [][]string
}

func (t *tableSink) begin(cols []column) error {
	t.cols, t.rows = cols, nil
	return nil
}

func (t *tableSink) row(values [][]byte) error {
	r := make([]string, len(values))
	for i, v := range values {
		if r[i] = printable(v); v == nil {
			r[i] = t.null
		}
	}
	t.rows = append(t.rows, r)
	return nil
}

func (t *tableSink) end(tag string) error {
	if len(t.cols) == 0 {
		if tag == "" {
			return nil
		}
		_, err := fmt.Fprintln(t.w, tag)
		return err
	}
	b := bufio.NewWriter(t.w)
	widths := make([]int, len(t.cols))
	total := 0
	for i, c := range t.cols {
		widths[i] = displayWidth(c.name)
		for _, r := range t.rows {
			widths[i] = max(widths[i], displayWidth(r[i]))
		}
		total += widths[i] + 3
	}
	tooWide := t.width > 0 && total-1 > t.width && len(t.rows) > 0
	if t.expanded == expandOn || t.expanded == expandAuto && tooWide {
		t.blocks(b)
	} else {
		t.aligned(b, widths)
	}
	t.cols, t.rows = nil, nil
	return b.Flush()
}

func (t *tableSink) aligned(b *bufio.Writer, widths []int) {
	line := func(cell func(i int) (string, bool)) {
		for i := range t.cols {
			if i > 0 {
				b.WriteByte('|')
			}
			text, right := cell(i)
			fill := strings.Repeat(" ", widths[i]-displayWidth(text))
			switch {
			case right:
				b.WriteString(" " + fill + text + " ")
			case i == len(t.cols)-1:
				b.WriteString(" " + text)
			default:
				b.WriteString(" " + text + fill + " ")
			}
		}
		b.WriteByte('\n')
	}
	line(func(i int) (string, bool) { return t.cols[i].name, false })
	for i := range t.cols {
		if i > 0 {
			b.WriteByte('+')
		}
		b.WriteString(strings.Repeat("-", widths[i]+2))
	}
	b.WriteByte('\n')
	for _, r := range t.rows {
		line(func(i int) (string, bool) { return r[i], numeric(t.cols[i].oid) })
	}
	t.count(b)
}

func (t *tableSink) count(b *bufio.Writer) {
	if len(t.rows) == 1 {
		b.WriteString("(1 row)\n")
	} else {
		fmt.Fprintf(b, "(%d rows)\n", len(t.rows))
	}
}

// blocks prints the rows expanded.
func (t *tableSink) blocks(b *bufio.Writer) {
	if len(t.rows) == 0 {
		t.count(b)
	}
	widest := 0
	for _, c := range t.cols {
		widest = max(widest, displayWidth(c.name))
	}
	for n, r := range t.rows {
		head := fmt.Sprintf("-[ %d ]", n+1)
		b.WriteString(head + strings.Repeat("-", max(3, widest+1-len(head))) + "+------\n")
		for i, c := range t.cols {
			b.WriteString(c.name + strings.Repeat(" ", widest-displayWidth(c.name)) + " | " + r[i] + "\n")
		}
	}
}

// printable shows a value on one line and keeps control characters from the terminal.
func printable(v []byte) string {
	s := string(v)
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
		return s
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// displayWidth counts the cells of a terminal that a text takes.
func displayWidth(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case r < 0x300:
			n++
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf): // drawn upon the one before, or not at all
		case unicode.Is(wide, r):
			n += 2
		default:
			n++
		}
	}
	return n
}

// wide are the characters that take two cells: East Asian scripts and pictographs.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x2e80, Hi: 0x303e, Stride: 1}, {Lo: 0x3041, Hi: 0x33ff, Stride: 1},
		{Lo: 0x3400, Hi: 0x4dbf, Stride: 1}, {Lo: 0x4e00, Hi: 0xa4cf, Stride: 1}, {Lo: 0xac00, Hi: 0xd7a3, Stride: 1},
		{Lo: 0xf900, Hi: 0xfaff, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1}, {Lo: 0xff00, Hi: 0xff60, Stride: 1},
		{Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{{Lo: 0x1f300, Hi: 0x1f64f, Stride: 1}, {Lo: 0x1f900, Hi: 0x1f9ff, Stride: 1}, {Lo: 0x20000, Hi: 0x3fffd, Stride: 1}},
}

func numeric(oid uint32) bool {
	switch oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID, pgtype.OIDOID:
		return true
	}
	return false
}

// jsonSink prints one JSON object per row, with the columns in their order.
type jsonSink struct {
	w      io.Writer
	cols   []column
	nested map[string]*segment.Type // by name, those of cold columns that are made of others
}

func (j *jsonSink) begin(cols []column) error {
	j.cols = cols
	return nil
}

func (j *jsonSink) row(values [][]byte) error {
	b := []byte{'{'}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, jsonString(j.cols[i].name)...), ':')
		if t := j.nested[j.cols[i].name]; t != nil {
			b = append(b, nestedJSON(v, t)...)
		} else {
			b = append(b, jsonValue(v, j.cols[i].oid)...)
		}
	}
	_, err := j.w.Write(append(b, '}', '\n'))
	return err
}

func (j *jsonSink) end(string) error { return nil }

// jsonValue renders PostgreSQL's text form of a value.
func jsonValue(v []byte, oid uint32) []byte {
	switch {
	case v == nil:
		return []byte("null")
	case oid == pgtype.BoolOID:
		return []byte(map[bool]string{true: "true", false: "false"}[string(v) == "t"])
	case numeric(oid) && json.Valid(v): // NaN and infinities are not
		return v
	case oid == pgtype.JSONOID || oid == pgtype.JSONBOID:
		var line bytes.Buffer
		if json.Compact(&line, v) == nil {
			return line.Bytes()
		}
	}
	return jsonString(string(v))
}

// jsonString leaves <, > and & alone: this is no web page.
func jsonString(s string) []byte {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}
