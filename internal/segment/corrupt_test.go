package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// readAll reads a file by every way there is and returns the first error.
func readAll(file []byte) error {
	r := bytes.NewReader(file)
	if _, err := ReadFooter(r, int64(len(file))); err != nil {
		return err
	}
	if _, err := Verify(r, int64(len(file))); err != nil {
		return err
	}
	rd, err := OpenReader(r, int64(len(file)))
	if err != nil {
		return err
	}
	defer rd.Close()
	for rd.Next() {
	}
	return rd.Err()
}

func corruptBase(t testing.TB) []byte {
	cols, stream := smallStream()
	cols = append(cols[:2:2], numericColumn(30, 4))
	file, _ := mustEncode(t, mustSchema(t, cols, nil), stream)
	return file
}

func TestNotASegment(t *testing.T) {
	t.Parallel()
	var other bytes.Buffer
	w := parquet.NewGenericWriter[struct{ A int }](&other)
	if _, err := w.Write([]struct{ A int }{{1}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{
		"empty": nil, "short": []byte("PAR1"), "text": bytes.Repeat([]byte("hello world "), 100), "another Parquet file": other.Bytes(),
		"only magic": []byte("PAR1\x00\x00\x00\x00PAR1"),
	} {
		if err := readAll(file); !errors.Is(err, ErrNotSegment) && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestLaterFormatIsRefused(t *testing.T) {
	t.Parallel()
	file := bytes.Replace(corruptBase(t), []byte("spillway.format\x18\x011"), []byte("spillway.format\x18\x012"), 1)
	if err := readAll(file); !errors.Is(err, ErrVersion) {
		t.Errorf("got %v, want ErrVersion", err)
	}
}

func TestEveryTruncationIsAnError(t *testing.T) {
	t.Parallel()
	file := corruptBase(t)
	for n := range file {
		if readAll(file[:n]) == nil {
			t.Fatalf("a file cut to %d bytes passed", n)
		}
		// A footer that is still there, and pages that are not.
		if n > 4 && n+200 < len(file) {
			if readAll(append(file[:4:4], file[len(file)-n:]...)) == nil {
				t.Fatalf("a file with %d bytes missing passed", len(file)-n-4)
			}
		}
	}
}

// A flipped bit in a page never reads as another value: each page has a checksum.
func TestFlippedBitsInPages(t *testing.T) {
	t.Parallel()
	for name, file := range map[string][]byte{"plain": corruptBase(t), "nested": nestedBase(t)} {
		t.Run(name, func(t *testing.T) { flipBits(t, file) })
	}
}

func flipBits(t *testing.T, file []byte) {
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	want := rows(t, file)
	for _, c := range f.Metadata().RowGroups[0].Columns {
		m := c.MetaData
		for at := m.DataPageOffset; at < m.DataPageOffset+m.TotalCompressedSize; at++ {
			bad := bytes.Clone(file)
			bad[at] ^= 0x10
			if err := readAll(bad); err != nil {
				continue
			}
			for i, r := range rows(t, bad) { // harmless: a byte of a header that nothing depends on
				for j := range r {
					if r[j] != want[i][j] {
						t.Fatalf("byte %d: row %d reads %q, and no error", at, i, r)
					}
				}
			}
		}
	}
}

func TestRandomDamageNeverPanics(t *testing.T) {
	t.Parallel()
	for _, file := range [][]byte{corruptBase(t), nestedBase(t)} {
		damage(file)
	}
}

func damage(file []byte) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 4000 {
		bad := bytes.Clone(file)
		for range 1 + r.IntN(4) {
			at := r.IntN(len(bad))
			if r.IntN(3) > 0 { // mostly in the footer
				at = len(bad) - 1 - r.IntN(min(len(bad), int(binary.LittleEndian.Uint32(file[len(file)-8:]))+8))
			}
			bad[at] = byte(r.Uint32())
		}
		_ = readAll(bad)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(corruptBase(f))
	f.Add(nestedBase(f))
	f.Add([]byte("PAR1\x00\x00\x00\x00PAR1"))
	f.Fuzz(func(_ *testing.T, b []byte) { _ = readAll(b) })
}
