package flush_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
)

// spoiler stands between the worker and PostgreSQL and spoils what COPY sends, once, when it is armed.
type spoiler struct {
	t      testing.TB
	server string

	mu     sync.Mutex
	spoil  func(frames [][]byte) [][]byte // of one read of the server's; nil: nothing
	struck bool
}

// newSpoiler returns the worker's URL through a spoiler.
func newSpoiler(t testing.TB, db *pgtest.DB) (*spoiler, string) {
	t.Helper()
	u, err := url.Parse(db.WorkerURL)
	must(t, err)
	s := &spoiler{t: t, server: u.Host}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	u.Host = l.Addr().String()
	q := u.Query()
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	return s, u.String()
}

func (s *spoiler) arm(spoil func([][]byte) [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoil, s.struck = spoil, false
}

func (s *spoiler) serve(c net.Conn) {
	defer c.Close()
	up, err := net.Dial("tcp", s.server)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		io.Copy(up, c)
		up.(*net.TCPConn).CloseWrite()
	}()
	buf, pending := make([]byte, 64<<10), []byte(nil)
	for {
		n, err := up.Read(buf)
		pending = append(pending, buf[:n]...)
		frames, rest := cut(pending)
		pending = rest
		for _, f := range s.pass(frames) {
			if _, err := c.Write(f); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut splits what PostgreSQL sent in messages, and what is no whole one yet.
func cut(b []byte) (frames [][]byte, rest []byte) {
	for len(b) >= 5 {
		n := 1 + int(binary.BigEndian.Uint32(b[1:]))
		if n > len(b) {
			break
		}
		frames, b = append(frames, bytes.Clone(b[:n])), b[n:]
	}
	return frames, bytes.Clone(b)
}

// pass spoils the first read that has enough rows in it.
func (s *spoiler) pass(frames [][]byte) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := 0
	for _, f := range frames {
		if f[0] == 'd' {
			rows++
		}
	}
	if s.spoil == nil || rows < 8 {
		return frames
	}
	spoil := s.spoil
	s.spoil, s.struck = nil, true
	return spoil(frames)
}

// pick is a row in the middle of frames. None of those of the scene's tables is COPY's header or trailer.
func pick(r *rand.Rand, frames [][]byte) int {
	var at []int
	for i, f := range frames {
		if f[0] == 'd' && len(f) > 40 {
			at = append(at, i)
		}
	}
	return at[1+r.IntN(len(at)-2)]
}

// A11, A36: what comes from PostgreSQL damaged fails the chunk, and nothing is lost. Damage that keeps within a value and leaves its
// length alone can be seen by nobody but TLS: it is counted here, so that nobody promises more.
func TestSpoiledCopy(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(11, 11))
	resize := func(f []byte, body []byte) []byte {
		out := append([]byte{f[0], 0, 0, 0, 0}, body...)
		binary.BigEndian.PutUint32(out[1:], uint32(len(body)+4))
		return out
	}
	for _, c := range []struct {
		name string
		tell bool // it must be found
		how  func(frames [][]byte) [][]byte
	}{
		{"a row is lost", true, func(f [][]byte) [][]byte { i := pick(r, f); return append(f[:i:i], f[i+1:]...) }},
		{"a row comes twice", true, func(f [][]byte) [][]byte { i := pick(r, f); return append(f[:i+1:i+1], f[i:]...) }},
		{"a row is cut", true, func(f [][]byte) [][]byte { i := pick(r, f); f[i] = resize(f[i], f[i][5:len(f[i])-3]); return f }},
		{"a row has a tail", true, func(f [][]byte) [][]byte { i := pick(r, f); f[i] = resize(f[i], append(f[i][5:], 0, 0)); return f }},
		{"the number of columns", true, func(f [][]byte) [][]byte { i := pick(r, f); f[i][6] ^= 1; return f }},
		{"the length of a value", true, func(f [][]byte) [][]byte { i := pick(r, f); f[i][10] ^= 4; return f }},
		{"the length of a value, by far", true, func(f [][]byte) [][]byte { i := pick(r, f); f[i][7] = 0x7f; return f }},
		{"the length of the message", true, func(f [][]byte) [][]byte { i := pick(r, f); f[i][4] += 8; return f }},
		{"the kind of the message", true, func(f [][]byte) [][]byte { i := pick(r, f); f[i][0] = 'X'; return f }},
		{"an end too early", true, func(f [][]byte) [][]byte {
			i := pick(r, f)
			return append(f[:i:i], append([][]byte{resize(f[i], []byte{0xff, 0xff})}, f[i+1:]...)...)
		}},
		{"two rows change places", false, func(f [][]byte) [][]byte { i := pick(r, f); f[i], f[i-1] = f[i-1], f[i]; return f }},
		{"a bit of the first value", false, func(f [][]byte) [][]byte { i := pick(r, f); f[i][18] ^= 0x80; return f }},
		{"a random bit", false, func(f [][]byte) [][]byte { i := pick(r, f); f[i][5+r.IntN(len(f[i])-5)] ^= 1 << r.IntN(8); return f }},
		{"another random bit", false, func(f [][]byte) [][]byte { i := pick(r, f); f[i][5+r.IntN(len(f[i])-5)] ^= 1 << r.IntN(8); return f }},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := pgtest.Database(t)
			s, through := newSpoiler(t, db)
			rig := newRigOn(t, db, through, events, fill(2000))
			j := rig.newJob()
			s.arm(c.how)
			_, err := j.chunk(0)
			if !s.struck {
				t.Fatal("nothing was spoiled")
			}
			t.Logf("told as: %v", err)
			if err == nil && c.tell {
				t.Error("nobody noticed")
			}
			if err != nil {
				if n := rig.hotCount(); n != 2000 {
					t.Errorf("%d rows are hot after the error, want 2000", n)
				}
				_, err = j.chunk(0)
				must(t, err)
			} else { // what was moved differs, at most in that row
				now := audit.Hot(t, db.SuperURL, "app", "t", "").Add(audit.Cold(t, db.SuperURL, "app", "t"))
				if now.Count() != 2000 {
					t.Errorf("%d rows, want 2000", now.Count())
				}
				t.Logf("not to be seen: %s", differs(rig.want, now))
				rig.want = nil
			}
			if _, err := rig.f.Sweep(t.Context(), j.id); err != nil {
				t.Error(err)
			}
		})
	}
}

func differs(a, b audit.Rows) string {
	n := 0
	for row := range a {
		if a[row] != b[row] {
			n++
		}
	}
	return fmt.Sprintf("%d rows differ", n)
}
