package segment

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// eventsTable is the table of the product's benchmark.
func eventsTable() []Column {
	amount := numericColumn(12, 2)
	amount.Name = "amount"
	return []Column{
		column("id", oidInt8), column("tenant_id", oidInt4), column("user_id", oidUUID), column("kind", oidText),
		amount, column("payload", oidJSONB), column("created_at", oidTimestampTZ), column("note", oidText),
	}
}

// eventsRows returns tuples of realistic events, without header and trailer.
func eventsRows(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := []string{"click", "view", "purchase", "signup", "logout"}
	words := []string{"alpha", "beta", "gamma", "delta", "search", "mobile", "desktop", "checkout", "retry", "campaign"}
	out := make([][]byte, n)
	for i := range out {
		id := make([]byte, 16)
		binary.BigEndian.PutUint64(id, r.Uint64())
		binary.BigEndian.PutUint64(id[8:], r.Uint64())
		payload := fmt.Sprintf("\x01{\"ip\": \"10.%d.%d.%d\", \"path\": \"/%s/%s/%d\", \"agent\": \"%s\", \"duration\": %d}",
			r.IntN(256), r.IntN(256), r.IntN(256), words[r.IntN(10)], words[r.IntN(10)], r.IntN(100000), words[r.IntN(10)], r.IntN(5000))
		var note []byte
		if r.IntN(10) != 0 {
			note = []byte("note about " + words[r.IntN(10)] + " " + words[r.IntN(10)] + fmt.Sprint(" ", r.IntN(1000000)))
		}
		s := copyStream{}
		s.row(be64(int64(i)), be32(int32(r.IntN(1000))), id, []byte(kinds[r.IntN(5)]), num(fmt.Sprintf("%d.%02d", r.IntN(10000), r.IntN(100))),
			[]byte(payload), be64(700_000_000_000_000+int64(i)*1_500_000+r.Int64N(1_000_000)), note)
		out[i] = s.b
	}
	return out
}

func wideTable() []Column {
	oids := []uint32{oidInt4, oidInt8, oidText, oidFloat8, oidBool, oidTimestampTZ, oidUUID, oidNumeric, oidDate, oidVarchar}
	var cols []Column
	for i := range 50 {
		c := column(fmt.Sprintf("c%d", i), oids[i%len(oids)])
		if c.BaseOID == oidNumeric {
			c.TypMod = numericTypmod(14, 3)
		}
		cols = append(cols, c)
	}
	return cols
}

func wideRows(n int) [][]byte {
	r := rand.New(rand.NewPCG(3, 4))
	out := make([][]byte, n)
	for i := range out {
		vals := make([][]byte, 50)
		for j := range vals {
			switch j % 10 {
			case 0:
				vals[j] = be32(r.Int32N(100000))
			case 1:
				vals[j] = be64(int64(i)*100 + r.Int64N(100))
			case 2:
				vals[j] = []byte(fmt.Sprintf("value %d", r.IntN(1000)))
			case 3:
				vals[j] = f64(r.Float64() * 1000)
			case 4:
				vals[j] = []byte{byte(r.IntN(2))}
			case 5:
				vals[j] = be64(700_000_000_000_000 + int64(i)*1000 + r.Int64N(1000))
			case 6:
				id := make([]byte, 16)
				binary.BigEndian.PutUint64(id, r.Uint64())
				vals[j] = id
			case 7:
				vals[j] = num(fmt.Sprintf("%d.%03d", r.IntN(100000), r.IntN(1000)))
			case 8:
				vals[j] = be32(r.Int32N(10000))
			default:
				if r.IntN(5) != 0 {
					vals[j] = []byte("state-" + fmt.Sprint(r.IntN(50)))
				}
			}
		}
		s := copyStream{}
		s.row(vals...)
		out[i] = s.b
	}
	return out
}

func narrowTable() []Column {
	return []Column{column("id", oidInt8), column("at", oidTimestamp), column("v", oidFloat8)}
}

func narrowRows(n int) [][]byte {
	r := rand.New(rand.NewPCG(5, 6))
	out := make([][]byte, n)
	for i := range out {
		s := copyStream{}
		s.row(be64(int64(i)), be64(700_000_000_000_000+int64(i)*1000), f64(float64(r.IntN(100000))/100))
		out[i] = s.b
	}
	return out
}

// benchmarkEncode feeds one row a call, as PostgreSQL sends them.
func benchmarkEncode(b *testing.B, cols []Column, tuples [][]byte) {
	s := mustSchema(b, cols, nil)
	size := 0
	for _, t := range tuples {
		size += len(t)
	}
	w, err := NewWriter(io.Discard, s, testMeta, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(newCopyStream().b); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size / len(tuples)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := w.Write(tuples[i%len(tuples)]); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := w.Write(be16(-1)); err != nil {
		b.Fatal(err)
	}
	sum, err := w.Close()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(sum.Bytes)/float64(sum.Rows), "file-B/row")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sum.Rows), "ns/row")
}

func BenchmarkEncodeEvents(b *testing.B) { benchmarkEncode(b, eventsTable(), eventsRows(100_000)) }
func BenchmarkEncodeWide(b *testing.B)   { benchmarkEncode(b, wideTable(), wideRows(20_000)) }
func BenchmarkEncodeNarrow(b *testing.B) { benchmarkEncode(b, narrowTable(), narrowRows(100_000)) }
