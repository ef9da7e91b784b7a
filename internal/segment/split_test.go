package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
)

// pieces is a Cutter that keeps what it gets.
type pieces struct {
	keys  []string
	parts []*bytes.Buffer
	ended int
	most  int // rows of a part; 0: any
	rows  int
}

func (p *pieces) Start(keys [][]byte) (io.Writer, error) {
	text := ""
	for _, k := range keys {
		if k == nil {
			text += "NULL;"
			continue
		}
		text += fmt.Sprintf("%q;", k)
	}
	p.keys = append(p.keys, text)
	p.parts = append(p.parts, &bytes.Buffer{})
	p.rows = 1
	return p.parts[len(p.parts)-1], nil
}

func (p *pieces) Full() bool {
	if p.most > 0 && p.rows >= p.most {
		return true
	}
	p.rows++
	return false
}

func (p *pieces) Finish() error { p.ended++; return nil }

// TestSplitterCutsWhereKeysChange feeds a stream in pieces of every size: where it is cut makes no difference.
func TestSplitterCutsWhereKeysChange(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("x"), 3000)
	stream := newCopyStream().
		row([]byte("a"), []byte("1"), []byte("one"), nil).
		row([]byte("a"), []byte("1"), long, []byte("")).
		row([]byte("a"), nil, []byte("three"), nil).
		row([]byte("a"), []byte(""), []byte("four"), nil).
		row(nil, []byte(""), nil, nil).
		row([]byte("ab"), []byte("c"), nil, nil).
		row([]byte("a"), []byte("bc"), nil, nil).end()
	want := [][]byte{
		newCopyStream().row([]byte("one"), nil).row(long, []byte("")).end(),
		newCopyStream().row([]byte("three"), nil).end(),
		newCopyStream().row([]byte("four"), nil).end(),
		newCopyStream().row(nil, nil).end(),
		newCopyStream().row(nil, nil).end(),
		newCopyStream().row(nil, nil).end(),
	}
	keys := []string{`"a";"1";`, `"a";NULL;`, `"a";"";`, `NULL;"";`, `"ab";"c";`, `"a";"bc";`}
	for size := 1; size <= len(stream); size += 1 + size/7 {
		p := &pieces{}
		s := NewSplitter(2, p)
		for c := range slices.Chunk(slices.Clone(stream), size) {
			if _, err := s.Write(c); err != nil {
				t.Fatalf("pieces of %d: %v", size, err)
			}
			clear(c) // nothing may be held on to
		}
		if err := s.Close(); err != nil {
			t.Fatalf("pieces of %d: %v", size, err)
		}
		if s.Rows() != 7 || p.ended != len(want) || !slices.Equal(p.keys, keys) {
			t.Fatalf("pieces of %d: %d rows, %d parts ended, keys %v", size, s.Rows(), p.ended, p.keys)
		}
		for i := range want {
			if !bytes.Equal(p.parts[i].Bytes(), want[i]) {
				t.Fatalf("pieces of %d: part %d is %q", size, i, p.parts[i])
			}
		}
	}
}

func TestSplitterCutsFullParts(t *testing.T) {
	t.Parallel()
	stream := newCopyStream()
	for i := range 10 {
		stream.row(be32(int32(i)))
	}
	p := &pieces{most: 4}
	s := NewSplitter(0, p)
	if _, err := s.Write(stream.end()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil || len(p.parts) != 3 || p.ended != 3 {
		t.Fatalf("%d parts, %d ended, %v", len(p.parts), p.ended, err)
	}
	schema := mustSchema(t, []Column{column("id", oidInt4)}, nil)
	var got []string
	for _, part := range p.parts {
		file, _ := mustEncode(t, schema, part.Bytes())
		for _, r := range rows(t, file) {
			got = append(got, r[0])
		}
	}
	if len(got) != 10 || got[0] != "0" || got[9] != "9" {
		t.Errorf("got rows %v", got)
	}
}

func TestSplitterOfNothing(t *testing.T) {
	t.Parallel()
	p := &pieces{}
	s := NewSplitter(1, p)
	if _, err := s.Write(newCopyStream().end()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil || len(p.parts) != 0 {
		t.Errorf("%d parts, %v", len(p.parts), err)
	}
	if err := s.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
}

func TestSplitterRefusesMalformedStreams(t *testing.T) {
	t.Parallel()
	good := newCopyStream().row([]byte("k"), []byte("v")).end()
	header := len(newCopyStream().b)
	change := func(at int, b ...byte) []byte {
		c := slices.Clone(good)
		copy(c[at:], b)
		return c
	}
	var malformed *FormatError
	for name, c := range map[string][]byte{
		"signature":      change(0, 'X'),
		"extension":      change(15, 0xff),
		"no fields":      change(header, 0, 0),
		"only keys":      change(header, 0, 1),
		"negative":       change(header, 0xff, 0xfe),
		"key length":     change(header+2, 0xff, 0xff, 0xff, 0xfe),
		"field length":   change(header+7, 0xff, 0xff, 0xff, 0xfe),
		"after the end":  append(slices.Clone(good), 0),
		"field too long": change(header+7, 0x7f, 0xff, 0xff, 0xff),
	} {
		s := NewSplitter(1, &pieces{})
		_, err := s.Write(c)
		if !errors.As(err, &malformed) {
			t.Errorf("%s: got %v", name, err)
		}
		if closeErr := s.Close(); !errors.Is(closeErr, err) {
			t.Errorf("%s: Close after %v: %v", name, err, closeErr)
		}
	}
	for n := range good {
		s := NewSplitter(1, &pieces{})
		if _, err := s.Write(good[:n]); err != nil {
			t.Fatalf("first %d bytes: %v", n, err)
		}
		if err := s.Close(); !errors.Is(err, ErrIncomplete) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
	var long *KeyTooLongError
	s := NewSplitter(1, &pieces{})
	if _, err := s.Write(newCopyStream().row(make([]byte, MaxKeyBytes+1), nil).end()); !errors.As(err, &long) || long.Bytes != MaxKeyBytes+1 {
		t.Errorf("long key: %v", err)
	}
}
