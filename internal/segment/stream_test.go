package segment

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func smallStream() ([]Column, []byte) {
	cols := []Column{column("id", oidInt8), column("note", oidText), column("n", oidNumeric)}
	stream := newCopyStream()
	for i := range 40 {
		note := []byte(fmt.Sprintf("note %d", i%3))
		if i%10 == 0 {
			note = nil
		}
		stream.row(be64(int64(i)), note, num(fmt.Sprintf("%d.50", i)))
	}
	return cols, stream.end()
}

func TestCutAnywhereGivesTheSameFile(t *testing.T) {
	t.Parallel()
	cols, _ := smallStream()
	s := mustSchema(t, cols, nil)
	stream := newCopyStream().row(be64(1), []byte("one"), num("1.5")).row(be64(2), nil, num("-20000.25")).row(nil, []byte(""), nil).end()
	want, _ := mustEncode(t, s, stream)
	for at := range len(stream) + 1 {
		var out bytes.Buffer
		w, err := NewWriter(&out, s, testMeta, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range [][]byte{stream[:at], stream[at:]} {
			if n, err := w.Write(p); err != nil || n != len(p) {
				t.Fatalf("cut at %d: wrote %d: %v", at, n, err)
			}
		}
		if _, err := w.Close(); err != nil {
			t.Fatalf("cut at %d: %v", at, err)
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Fatalf("cut at %d: another file", at)
		}
	}
	_, stream = smallStream()
	want, _ = mustEncode(t, s, stream)
	for step := 1; step < 50; step += 4 {
		got, _, err := encode(t, s, stream, step, nil)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("steps of %d: another file, or %v", step, err)
		}
	}
}

func TestCutLargeStreamGivesTheSameFile(t *testing.T) {
	t.Parallel()
	cols := []Column{column("id", oidInt4), column("body", oidText)}
	stream := newCopyStream()
	for i := range 3000 {
		n := i % 700
		if i%500 == 499 {
			n = 300_000
		}
		stream.row(be32(int32(i)), bytes.Repeat([]byte{'a' + byte(i%26)}, n))
	}
	b := stream.end()
	s := mustSchema(t, cols, nil)
	opt := &WriterOptions{RowGroupRows: 1000}
	want, _, err := encode(t, s, b, 0, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []int{7, 1000, 65536, 200_001} {
		got, _, err := encode(t, s, b, step, opt)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("steps of %d: another file, or %v", step, err)
		}
	}
}

func TestMalformedStreams(t *testing.T) {
	t.Parallel()
	s := mustSchema(t, []Column{column("id", oidInt8), column("b", oidJSONB)}, nil)
	head := newCopyStream().b
	with := func(parts ...[]byte) []byte { return bytes.Join(append([][]byte{head}, parts...), nil) }
	for _, tc := range []struct {
		name   string
		stream []byte
		want   string
	}{
		{"text format", []byte("1\tone\n2\ttwo\n"), "signature"},
		{"flags", append([]byte(copySignature), 0, 2, 0, 0, 0, 0, 0, 0), "critical flags"},
		{"oids", append([]byte(copySignature), 0, 1, 0, 0, 0, 0, 0, 0), "oids"},
		{"long extension", append([]byte(copySignature), 0, 0, 0, 0, 0x7f, 0, 0, 0), "extension area"},
		{"too few columns", with(be16(1), be32(8), be64(1)), "a row has 1 columns, expected 2"},
		{"too many columns", with(be16(3)), "a row has 3 columns, expected 2"},
		{"negative count", with(be16(-2)), "a row has -2 columns"},
		{"negative length", with(be16(2), be32(-2)), "length is -2"},
		{"huge length", with(be16(2), be32(1<<30+1)), "length is 1073741825"},
		{"wrong length", newCopyStream().row(be32(1), nil).end(), "4 bytes are no value"},
		{"jsonb version", newCopyStream().row(be64(1), []byte("\x02{}")).end(), "jsonb"},
		{"data after the trailer", append(newCopyStream().end(), 0), "after the trailer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := encode(t, s, tc.stream, 0, nil)
			var fe *FormatError
			if !errors.As(err, &fe) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want a *FormatError with %q", err, tc.want)
			}
		})
	}
}

func TestTruncatedStreamIsIncomplete(t *testing.T) {
	t.Parallel()
	cols, stream := smallStream()
	s := mustSchema(t, cols, nil)
	for at := range stream {
		if _, _, err := encode(t, s, stream[:at], 0, nil); !errors.Is(err, ErrIncomplete) {
			t.Fatalf("cut at %d: got %v, want ErrIncomplete", at, err)
		}
	}
}

func TestHeaderExtensionIsSkipped(t *testing.T) {
	t.Parallel()
	s := mustSchema(t, []Column{column("id", oidInt8)}, nil)
	stream := append([]byte(copySignature), 0, 0, 0, 0, 0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o')
	stream = append(stream, newCopyStream().row(be64(9)).end()[19:]...)
	for _, step := range []int{0, 1, 3} {
		file, _, err := encode(t, s, stream, step, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := rows(t, file); len(got) != 1 || got[0][0] != "9" {
			t.Errorf("got %q", got)
		}
	}
}

func TestEmptyStream(t *testing.T) {
	t.Parallel()
	s := mustSchema(t, []Column{column("id", oidInt8)}, nil)
	file, sum := mustEncode(t, s, newCopyStream().end())
	if sum.Rows != 0 || sum.Bytes != int64(len(file)) || len(rows(t, file)) != 0 {
		t.Errorf("got %+v", sum)
	}
}

func FuzzScanner(f *testing.F) {
	_, stream := smallStream()
	f.Add(stream, 3)
	f.Add(stream[:40], 1)
	f.Add(append(newCopyStream().b, 0, 3, 0x3f, 0xff, 0xff, 0xff), 2)
	cols, _ := smallStream()
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		s, err := NewSchema(cols, &SchemaOptions{RowID: step&1 == 1})
		if err != nil {
			t.Fatal(err)
		}
		one, sumOne, errOne := encode(t, s, b, 0, nil)
		cut, sumCut, errCut := encode(t, s, b, 1+(step&0xff), nil)
		if (errOne == nil) != (errCut == nil) || sumOne.SHA256 != sumCut.SHA256 || errOne == nil && !bytes.Equal(one, cut) {
			t.Fatalf("whole: %v, cut: %v", errOne, errCut)
		}
		if errOne == nil {
			if got := rows(t, one); int64(len(got)) != sumOne.Rows {
				t.Fatalf("%d rows read, %d written", len(got), sumOne.Rows)
			}
		}
	})
}
