package segment

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

func TestSummaryDescribesTheFile(t *testing.T) {
	t.Parallel()
	cols, stream := smallStream()
	file, sum := mustEncode(t, mustSchema(t, cols, nil), stream)
	hash := sha256.Sum256(file)
	if sum.Rows != 40 || sum.Bytes != int64(len(file)) || sum.SHA256 != hex.EncodeToString(hash[:]) {
		t.Errorf("got %+v for %d bytes", sum, len(file))
	}
	if len(sum.Stats) != 3 || sum.Stats[1].Nulls != 4 || *sum.Stats[0].Min != "0" || *sum.Stats[0].Max != "39" || sum.Stats[2].Min != nil {
		t.Errorf("got stats %+v", sum.Stats)
	}
}

func TestFooterSaysWhatTheWriterWasTold(t *testing.T) {
	t.Parallel()
	cols, stream := smallStream()
	cols[0].Key, cols[0].NotNull, cols[1].Collation, cols[2].Domain, cols[2].AttNum = true, true, "de_DE", "app.price", 9
	file, _ := mustEncode(t, mustSchema(t, cols, nil), stream)
	for name, read := range map[string]func(io.ReaderAt, int64) (Footer, error){"ReadFooter": ReadFooter, "Verify": Verify} {
		ft, err := read(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if ft.Meta != testMeta || ft.Rows != 40 || len(ft.Columns) != 3 {
			t.Errorf("%s: got %+v", name, ft)
		}
		for i := range cols {
			if !reflect.DeepEqual(ft.Columns[i], cols[i]) {
				t.Errorf("%s: column %d: got %+v, want %+v", name, i, ft.Columns[i], cols[i])
			}
		}
	}
}

// A14: names that need quoting, in the table's order.
func TestColumnsKeepNamesAndOrder(t *testing.T) {
	t.Parallel()
	names := []string{"z", "a.b.c", `say "hi"`, "naïve 日本", " ", "A", "a", "select", "list.element", "x\ny"}
	var cols []Column
	var vals [][]byte
	for i, n := range names {
		c := column(n, oidInt4)
		c.AttNum = int16(20 + 2*i)
		cols = append(cols, c)
		vals = append(vals, be32(int32(i)))
	}
	file, _ := mustEncode(t, mustSchema(t, cols, nil), newCopyStream().row(vals...).end())
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range f.Root().Columns() {
		if c.Name() != names[i] || c.ID() != 20+2*i {
			t.Errorf("column %d is %q with field id %d", i, c.Name(), c.ID())
		}
	}
	if got := rows(t, file)[0]; strings.Join(got, " ") != "0 1 2 3 4 5 6 7 8 9" {
		t.Errorf("got %q", got)
	}
}

func TestSchemaRefusals(t *testing.T) {
	t.Parallel()
	many := make([]Column, maxColumns+1)
	for i := range many {
		many[i] = column(fmt.Sprint(i), oidInt4)
	}
	for name, cols := range map[string][]Column{
		"none": nil, "no name": {column("", oidInt4)}, "twice": {column("a", oidInt4), column("a", oidText)}, "many": many,
	} {
		var se *SchemaError
		if _, err := NewSchema(cols, nil); !errors.As(err, &se) {
			t.Errorf("%s: got %v, want *SchemaError", name, err)
		}
	}
	if _, err := NewSchema(many[:1], &SchemaOptions{OnUnrepresentable: "ignore"}); err == nil {
		t.Error("an unknown option was taken")
	}
}

func TestRowGroupsAreBounded(t *testing.T) {
	t.Parallel()
	stream := newCopyStream()
	for i := range 20_000 {
		stream.row(be64(int64(i)), []byte(fmt.Sprintf("%032x", i*7919)))
	}
	b := stream.end()
	s := mustSchema(t, []Column{column("id", oidInt8), column("t", oidText)}, nil)
	for _, tc := range []struct {
		name string
		opt  WriterOptions
		most int64
	}{
		{"rows", WriterOptions{RowGroupRows: 1000}, 1000 + batchRows},
		{"bytes", WriterOptions{RowGroupBytes: 100_000}, 4000},
	} {
		file, _, err := encode(t, s, b, 0, &tc.opt)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(f.RowGroups()); n < 5 {
			t.Errorf("%s: %d row groups", tc.name, n)
		}
		for _, g := range f.RowGroups() {
			if g.NumRows() > tc.most {
				t.Errorf("%s: a row group of %d rows", tc.name, g.NumRows())
			}
		}
		if got := rows(t, file); len(got) != 20_000 || got[19_999][0] != "19999" {
			t.Errorf("%s: %d rows", tc.name, len(got))
		}
	}
}

func TestStatisticsAreNeverWrong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 100)
	last := strings.Repeat("\U0010ffff", 40)
	cols := []Column{column("f", oidFloat8), column("t", oidText), column("last", oidText), numericColumn(38, 2), column("b", oidBytea), column("nulls", oidInt4)}
	stream := newCopyStream().
		row(f64(math.NaN()), []byte(long+"z"), []byte(last), num("-5.00"), bytes.Repeat([]byte{0xff}, 100), nil).
		row(f64(-1), []byte("b"), []byte("x"), num("7.00"), []byte{1}, nil).
		row(f64(2), []byte(long+"a"), []byte("y"), num("0.00"), nil, nil)
	file, sum := mustEncode(t, mustSchema(t, cols, nil), stream.end())
	st := sum.Stats
	if *st[0].Min != "-1" || *st[0].Max != "NaN" {
		t.Errorf("float: %s .. %s", *st[0].Min, *st[0].Max)
	}
	if *st[1].Min != "b" || *st[1].Max < long+"z" || len(*st[1].Max) > boundBytes+4 || !st[1].Inexact {
		t.Errorf("text: %s .. %q", *st[1].Min, *st[1].Max)
	}
	if *st[2].Min != "x" || st[2].Max != nil && *st[2].Max < last {
		t.Errorf("the last characters: %q", *st[2].Max)
	}
	if *st[3].Min != "-5.00" || *st[3].Max != "7.00" {
		t.Errorf("decimal: %s .. %s", *st[3].Min, *st[3].Max)
	}
	if st[4].Min != nil || st[4].Nulls != 1 || st[5].Min != nil || st[5].Nulls != 3 {
		t.Errorf("got %+v", st[4:])
	}
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	stats := f.Metadata().RowGroups[0].Columns[4].MetaData.Statistics
	if bytes.Compare(stats.MaxValue, bytes.Repeat([]byte{0xff}, 100)) < 0 {
		t.Errorf("bytea: max is %x", stats.MaxValue)
	}
}

func TestDictionaryGivesWay(t *testing.T) {
	t.Parallel()
	stream := newCopyStream()
	var want []string
	for i := range 30_000 {
		v := fmt.Sprintf("state %d", i%4)
		if i > 5000 {
			v = fmt.Sprintf("a label of its own %d", i)
		}
		if i == 2500 {
			v = strings.Repeat("long", 100_000)
		}
		want = append(want, v)
		stream.row([]byte(v))
	}
	file, _, err := encode(t, mustSchema(t, []Column{column("t", oidText)}, nil), stream.end(), 0, &WriterOptions{RowGroupRows: 12_000})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rows(t, file) {
		if r[0] != want[i] {
			t.Fatalf("row %d: got %.50q, want %.50q", i, r[0], want[i])
		}
	}
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range f.Metadata().RowGroups {
		st := g.Columns[0].MetaData.Statistics
		if len(st.MinValue) > boundBytes || len(st.MaxValue) > boundBytes {
			t.Errorf("row group %d: bounds of %d and %d bytes", i, len(st.MinValue), len(st.MaxValue))
		}
	}
}

// failingWriter fails after n bytes.
type failingWriter struct{ n int }

var errDiskFull = errors.New("disk full")

func (w *failingWriter) Write(p []byte) (int, error) {
	if len(p) > w.n {
		return w.n, errDiskFull
	}
	w.n -= len(p)
	return len(p), nil
}

func TestErrorsOfTheStorageComeThrough(t *testing.T) {
	t.Parallel()
	cols, stream := smallStream()
	s := mustSchema(t, cols, nil)
	_, sum := mustEncode(t, s, stream)
	for n := 0; n < int(sum.Bytes); n += 11 {
		w, err := NewWriter(&failingWriter{n: n}, s, testMeta, &WriterOptions{RowGroupRows: 1})
		if err != nil {
			t.Fatal(err)
		}
		_, werr := w.Write(stream)
		_, cerr := w.Close()
		if !errors.Is(errors.Join(werr, cerr), errDiskFull) {
			t.Fatalf("after %d bytes: got %v and %v", n, werr, cerr)
		}
		if _, again := w.Close(); !errors.Is(again, errDiskFull) {
			t.Fatalf("a second Close forgot the error: %v", again)
		}
		w.Abort()
	}
}

func TestWriterStates(t *testing.T) {
	t.Parallel()
	cols, stream := smallStream()
	s := mustSchema(t, cols, nil)
	w, _ := NewWriter(io.Discard, s, testMeta, nil)
	if _, err := w.Write(stream); err != nil {
		t.Fatal(err)
	}
	first, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if second, err := w.Close(); err != nil || second.SHA256 != first.SHA256 {
		t.Errorf("a second Close: %+v, %v", second, err)
	}
	if _, err := w.Write(stream); !errors.Is(err, ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	if w.Rows() != 40 || w.Bytes() != first.Bytes {
		t.Errorf("after Close: %d rows, %d bytes", w.Rows(), w.Bytes())
	}
	w, _ = NewWriter(io.Discard, s, testMeta, nil)
	w.Abort()
	w.Abort()
	if _, err := w.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("Close after Abort: %v", err)
	}
}

func TestRowsDoNotAllocate(t *testing.T) {
	tuples := eventsRows(batchRows * 8)
	w, err := NewWriter(io.Discard, mustSchema(t, eventsTable(), nil), testMeta, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(newCopyStream().b); err != nil {
		t.Fatal(err)
	}
	all := func() {
		for _, tuple := range tuples {
			if _, err := w.Write(tuple); err != nil {
				t.Fatal(err)
			}
		}
	}
	all()
	if perRow := testing.AllocsPerRun(50, all) / float64(len(tuples)); perRow > 0.05 {
		t.Errorf("%.3f allocations per row", perRow)
	}
}

// peakHeap runs f and returns how far the live heap grew, sampled at each call of the function that f gets.
func peakHeap(f func(sample func())) int64 {
	live := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, peak := live(), int64(0)
	f(func() { peak = max(peak, live()-before) })
	return peak
}

// The memory of one writer. Not parallel: it measures the heap of the process.
func TestMemoryIsBounded(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	wide := make([]Column, 500)
	var wideVals [][]byte
	for i := range wide {
		wide[i] = column(fmt.Sprintf("c%d", i), []uint32{oidInt8, oidText, oidText, oidFloat8}[i%4])
		wideVals = append(wideVals, [][]byte{be64(int64(i)), []byte("some text of a column"), []byte("more"), f64(float64(i))}[i%4])
	}
	many, manyVals := make([]Column, 1600), make([][]byte, 1600)
	for i := range many {
		many[i], manyVals[i] = column(fmt.Sprintf("c%d", i), oidText), []byte(fmt.Sprintf("a value of column %d", i))
	}
	manyRow := (&copyStream{}).row(manyVals...).b
	events := eventsRows(10_000)
	big := bytes.Repeat([]byte("0123456789abcdef"), 10<<20/16)
	for _, tc := range []struct {
		name   string
		cols   []Column
		tuples func(i int) []byte
		rows   int
		limit  int64
	}{
		{"events", eventsTable(), func(i int) []byte { return events[i%len(events)] }, 400_000, 40 << 20},
		{"500 columns", wide, func(i int) []byte {
			wideVals[0] = be64(int64(i))
			wideVals[1] = []byte(fmt.Sprintf("%030d", i*7919))
			return (&copyStream{}).row(wideVals...).b
		}, 10_000, 60 << 20},
		{"1600 columns", many, func(i int) []byte { return manyRow }, 3000, 90 << 20},
		{"10 MB values", []Column{column("id", oidInt8), column("body", oidText)}, func(i int) []byte {
			return (&copyStream{}).row(be64(int64(i)), big).b
		}, 30, 150 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := mustSchema(t, tc.cols, nil)
			peak := peakHeap(func(sample func()) {
				w, err := NewWriter(io.Discard, s, testMeta, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer w.Abort()
				if _, err := w.Write(newCopyStream().b); err != nil {
					t.Fatal(err)
				}
				for i := range tc.rows {
					if _, err := w.Write(tc.tuples(i)); err != nil {
						t.Fatal(err)
					}
					if i%(tc.rows/30) == 0 {
						sample()
					}
				}
			})
			t.Logf("%s: %d MB", tc.name, peak>>20)
			if peak > tc.limit {
				t.Errorf("a writer of %s holds %d MB, at most %d were meant", tc.name, peak>>20, tc.limit>>20)
			}
		})
	}
}
