package hot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// message writes one message of the wire.
func message(typ byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{typ}, uint32(len(body)+4))
	return append(b, body...)
}

func stream(messages ...[]byte) []byte { return bytes.Join(messages, nil) }

// A COPY goes to the sink and nothing else does, however the stream is cut.
func TestCopyTap(t *testing.T) {
	t.Parallel()
	big := string(bytes.Repeat([]byte("0123456789"), tapBuffer/4)) // longer than the buffer
	src := stream(message('H', "\x01\x00\x00"), message('d', "ab"), message('d', ""), message('N', "notice"), message('d', "c"), message('d', big),
		message('d', "z"), message('c', ""), message('C', "COPY 5\x00"), message('Z', "T"))
	forPgx := stream(message('H', "\x01\x00\x00"), message('N', "notice"), message('c', ""), message('C', "COPY 5\x00"), message('Z', "T"))
	for name, cut := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "random": randomReader,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tap := newCopyTap(cut(bytes.NewReader(src)))
			var sink bytes.Buffer
			tap.open(&sink)
			got, err := io.ReadAll(tap)
			if err != nil || !bytes.Equal(got, forPgx) {
				t.Errorf("pgx reads %q, %v; want %q", got, err, forPgx)
			}
			if want := "abc" + big + "z"; sink.String() != want {
				t.Errorf("the sink has %d bytes, want %d", sink.Len(), len(want))
			}
			if err := tap.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Without a COPY of ours every message is pgx's.
func TestCopyTapClosed(t *testing.T) {
	t.Parallel()
	src := stream(message('d', "row"), message('Z', "I"))
	if got, err := io.ReadAll(newCopyTap(bytes.NewReader(src))); err != nil || !bytes.Equal(got, src) {
		t.Errorf("read %q, %v; want %q", got, err, src)
	}
}

func TestCopyTapSinkFails(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left")
	tap := newCopyTap(bytes.NewReader(stream(message('d', "row"), message('Z', "I"))))
	tap.open(iotestWriter{full})
	if _, err := io.ReadAll(tap); !errors.Is(err, full) {
		t.Errorf("read: %v, want %v", err, full)
	}
	if err := tap.close(); !errors.Is(err, full) {
		t.Errorf("close: %v, want %v", err, full)
	}
}

// A length that cannot be is pgx's to refuse; the tap must neither hang nor take it.
func TestCopyTapBadLength(t *testing.T) {
	t.Parallel()
	for _, length := range []uint32{0, 3, 1 << 31, 1<<32 - 1} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			t.Parallel()
			src := append(binary.BigEndian.AppendUint32([]byte{'d'}, length), message('Z', "I")...)
			tap := newCopyTap(bytes.NewReader(src))
			var sink bytes.Buffer
			tap.open(&sink)
			got := make([]byte, headerBytes)
			if _, err := io.ReadFull(tap, got); err != nil || !bytes.Equal(got, src[:headerBytes]) {
				t.Errorf("read %q, %v", got, err)
			}
			if sink.Len() > 0 {
				t.Errorf("the sink has %q", sink.String())
			}
		})
	}
}

// The connection may end anywhere.
func TestCopyTapCutShort(t *testing.T) {
	t.Parallel()
	src := stream(message('H', "x"), message('d', "row"), message('Z', "I"))
	for n := range len(src) {
		tap := newCopyTap(bytes.NewReader(src[:n]))
		var sink bytes.Buffer
		tap.open(&sink)
		if _, err := io.ReadAll(tap); err != nil { // the end of the stream is no error here; pgx makes one of it
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

type iotestWriter struct{ err error }

func (w iotestWriter) Write([]byte) (int, error) { return 0, w.err }

func randomReader(r io.Reader) io.Reader { return &randomCuts{r} }

type randomCuts struct{ r io.Reader }

func (c *randomCuts) Read(p []byte) (int, error) {
	return c.r.Read(p[:min(len(p), 1+rand.IntN(1000))])
}
