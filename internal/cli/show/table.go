package show

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// Column heads a column of printed rows.
type Column struct {
	Name string
	OID  uint32 // PostgreSQL's type, which says how JSON shows the value and whether a table aligns it right
}

// Sink takes the rows of one result after another. A nil value is NULL. Values are only valid during the call.
type Sink interface {
	Begin(cols []Column) error
	Row(values [][]byte) error
	End(tag string) error // the command tag, "SELECT 3"; a result without columns has only this
}

// Expansion says when a row is printed as a block of lines, one per column.
type Expansion uint8

const (
	ExpandAuto Expansion = iota // where it does not fit the terminal
	ExpandOn                    // always
	ExpandOff                   // never
)

// String is the word that the prompt knows.
func (e Expansion) String() string { return [...]string{"auto", "on", "off"}[e] }

// Table prints aligned text as psql does, or one block per row.
type Table struct {
	W        io.Writer
	Width    int // of the terminal, in cells; 0: as wide as it takes
	Expanded Expansion
	Null     string // stands for NULL

	cols []Column
	rows [][]string
}

// Begin implements Sink.
func (t *Table) Begin(cols []Column) error {
	t.cols, t.rows = cols, nil
	return nil
}

// Row implements Sink.
func (t *Table) Row(values [][]byte) error {
	r := make([]string, len(values))
	for i, v := range values {
		if r[i] = Printable(v); v == nil {
			r[i] = t.Null
		}
	}
	t.rows = append(t.rows, r)
	return nil
}

// End implements Sink.
func (t *Table) End(tag string) error {
	if len(t.cols) == 0 {
		if tag == "" {
			return nil
		}
		_, err := fmt.Fprintln(t.W, tag)
		return err
	}
	b := bufio.NewWriter(t.W)
	widths := make([]int, len(t.cols))
	total := 0
	for i, c := range t.cols {
		widths[i] = Width(c.Name)
		for _, r := range t.rows {
			widths[i] = max(widths[i], Width(r[i]))
		}
		total += widths[i] + 3
	}
	tooWide := t.Width > 0 && total-1 > t.Width && len(t.rows) > 0
	if t.Expanded == ExpandOn || t.Expanded == ExpandAuto && tooWide {
		t.blocks(b)
	} else {
		t.aligned(b, widths)
	}
	t.cols, t.rows = nil, nil
	return b.Flush()
}

func (t *Table) aligned(b *bufio.Writer, widths []int) {
	line := func(cell func(i int) (string, bool)) {
		for i := range t.cols {
			if i > 0 {
				b.WriteByte('|')
			}
			text, right := cell(i)
			fill := strings.Repeat(" ", widths[i]-Width(text))
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
	line(func(i int) (string, bool) { return t.cols[i].Name, false })
	for i := range t.cols {
		if i > 0 {
			b.WriteByte('+')
		}
		b.WriteString(strings.Repeat("-", widths[i]+2))
	}
	b.WriteByte('\n')
	for _, r := range t.rows {
		line(func(i int) (string, bool) { return r[i], Numeric(t.cols[i].OID) })
	}
	t.count(b)
}

func (t *Table) count(b *bufio.Writer) {
	if len(t.rows) == 1 {
		b.WriteString("(1 row)\n")
	} else {
		fmt.Fprintf(b, "(%d rows)\n", len(t.rows))
	}
}

// blocks prints the rows expanded.
func (t *Table) blocks(b *bufio.Writer) {
	if len(t.rows) == 0 {
		t.count(b)
	}
	widest := 0
	for _, c := range t.cols {
		widest = max(widest, Width(c.Name))
	}
	for n, r := range t.rows {
		head := fmt.Sprintf("-[ %d ]", n+1)
		b.WriteString(head + strings.Repeat("-", max(3, widest+1-len(head))) + "+------\n")
		for i, c := range t.cols {
			b.WriteString(c.Name + strings.Repeat(" ", widest-Width(c.Name)) + " | " + r[i] + "\n")
		}
	}
}

// Numeric reports whether a type of PostgreSQL is a number: tables align it right, and JSON shows it without quotes.
func Numeric(oid uint32) bool {
	switch oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID, pgtype.OIDOID:
		return true
	}
	return false
}
