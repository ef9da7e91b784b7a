package objstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
	"github.com/spillwaydb/spillway/tests/await"
)

const part = 5 << 20 // bytes: the smallest that S3 takes

// faulty is a store behind a proxy, and the same store without one.
type faulty struct {
	*cloudtest.Proxy
	store, plain objstore.Store
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	server := cloudtest.Start(t)
	p := cloudtest.NewProxy(t, server)
	location := "s3://" + server.Bucket(t) + "/p"
	f := &faulty{Proxy: p, store: openS3(t, p.Endpoint, location, "part_size", "5MB", "timeout", "2s"), plain: openS3(t, server.Endpoint, location)}
	t.Cleanup(func() { f.leavesNothing(t) })
	return f
}

// leavesNothing is the audit: no unfinished upload, whatever happened.
func (f *faulty) leavesNothing(t *testing.T) {
	before := map[string]bool{}
	ctx := context.Background()
	for info, err := range f.plain.List(ctx, "") {
		if err != nil {
			t.Error(err)
			return
		}
		before[info.Key] = true
	}
	for key := range before {
		if err := f.plain.Delete(ctx, key); err != nil {
			t.Error(err)
		}
	}
	for _, first := range "dkm" {
		if n, err := f.plain.DeletePrefix(ctx, string(first)); n != 0 || err != nil {
			t.Errorf("%d unfinished uploads are left, %v", n, err)
		}
	}
}

func random(n int) []byte {
	data := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(data)
	return data
}

func write(ctx context.Context, s objstore.Store, key string, data []byte) error {
	w, err := s.Create(ctx, key)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return errors.Join(err, w.Abort())
	}
	info, err := w.Commit(ctx)
	if err == nil && info.Size != int64(len(data)) {
		return errors.New("Commit tells another size")
	}
	return errors.Join(err, w.Abort())
}

func (f *faulty) wantContent(t *testing.T, key string, want []byte) {
	t.Helper()
	obj, err := f.plain.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Close()
	got, err := io.ReadAll(io.NewSectionReader(obj, 0, obj.Size()))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes, want %d, %v", key, len(got), len(want), err)
	}
}

// Faults that pass: the write succeeds, once, and nothing else is left.
func TestS3PassingFaults(t *testing.T) {
	t.Parallel()
	small, large := random(1000), random(2*part+17)
	slowDown := cloudtest.Fault{Status: 503, Code: "SlowDown"}
	broken := cloudtest.Fault{Status: 500, Code: "InternalError"}
	for _, c := range []struct {
		name, op string
		data     []byte
		faults   []cloudtest.Fault
	}{
		{"500 twice", "PutObject", small, []cloudtest.Fault{broken, broken}},
		{"slow down", "PutObject", small, []cloudtest.Fault{slowDown}},
		{"reset", "PutObject", small, []cloudtest.Fault{{Reset: true}}},
		{"torn request", "PutObject", small, []cloudtest.Fault{{LoseBody: 100}}},
		{"lost answer to a put, then 412 on one's own object", "PutObject", small, []cloudtest.Fault{{NoAnswer: true}}},
		{"answers to all tries of a put lost", "PutObject", small, []cloudtest.Fault{{NoAnswer: true}, {NoAnswer: true}, {NoAnswer: true}, {NoAnswer: true}}},
		{"begin fails", "CreateMultipartUpload", large, []cloudtest.Fault{broken}},
		{"part fails", "UploadPart", large, []cloudtest.Fault{slowDown, broken}},
		{"part torn", "UploadPart", large, []cloudtest.Fault{{LoseBody: 100_000}}},
		{"part's answer lost", "UploadPart", large, []cloudtest.Fault{{NoAnswer: true}}},
		{"complete fails", "CompleteMultipartUpload", large, []cloudtest.Fault{broken}},
		{"complete's answer lost", "CompleteMultipartUpload", large, []cloudtest.Fault{{NoAnswer: true}}},
		{"complete's answers all lost", "CompleteMultipartUpload", large, []cloudtest.Fault{{NoAnswer: true}, {NoAnswer: true}, {NoAnswer: true}, {NoAnswer: true}}},
		{"complete's answer torn", "CompleteMultipartUpload", large, []cloudtest.Fault{{CutAfter: 40}}},
		{"look afterwards fails", "HeadObject", large, []cloudtest.Fault{broken}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			f.Once(c.op, c.faults...)
			if err := write(t.Context(), f.store, "d/k", c.data); err != nil {
				t.Fatal(err)
			}
			if f.Seen(c.op) <= len(c.faults) && f.Seen(c.op) < 4 {
				t.Errorf("%s was asked %d times: the fault did not happen", c.op, f.Seen(c.op))
			}
			f.On(nil)
			f.wantContent(t, "d/k", c.data)
		})
	}
}

// The name is another's: that is never taken for one's own write, whatever answers were lost.
func TestS3TakenByAnother(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"put": 1000, "multipart": part + 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			data := random(size)
			if err := f.plain.PutIfAbsent(t.Context(), "d/k", data); err != nil { // the same bytes: only who wrote them differs
				t.Fatal(err)
			}
			for op := range map[string]bool{"PutObject": true, "CompleteMultipartUpload": true} {
				f.Once(op, cloudtest.Fault{NoAnswer: true})
				if err := write(t.Context(), f.store, "d/k", data); !errors.Is(err, objstore.ErrExists) {
					t.Errorf("%v, want ErrExists", err)
				}
			}
		})
	}
}

// Faults that stay: an error that says what is wrong, and no upload left behind.
func TestS3StayingFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, op string
		fault    cloudtest.Fault
		kind     error // nil: none
		requests int   // at most
	}{
		{"500", "PutObject", cloudtest.Fault{Status: 500, Code: "InternalError"}, objstore.ErrUnanswered, 4}, // it may have been carried out
		{"slow down", "UploadPart", cloudtest.Fault{Status: 503, Code: "SlowDown"}, nil, 4},
		{"reset", "UploadPart", cloudtest.Fault{Reset: true}, nil, 4},
		{"complete", "CompleteMultipartUpload", cloudtest.Fault{Status: 500, Code: "InternalError"}, objstore.ErrUnanswered, 4},
		{"denied", "PutObject", cloudtest.Fault{Status: 403, Code: "AccessDenied"}, objstore.ErrForbidden, 1},
		{"denied part", "UploadPart", cloudtest.Fault{Status: 403, Code: "AccessDenied"}, objstore.ErrForbidden, 1},
		{"wrong key", "PutObject", cloudtest.Fault{Status: 403, Code: "SignatureDoesNotMatch"}, objstore.ErrForbidden, 1},
		{"expired", "PutObject", cloudtest.Fault{Status: 400, Code: "ExpiredToken"}, objstore.ErrDenied, 4},
		{"no bucket", "PutObject", cloudtest.Fault{Status: 404, Code: "NoSuchBucket"}, objstore.ErrNoBucket, 1},
		{"quota", "UploadPart", cloudtest.Fault{Status: 507, Code: "InsufficientStorage"}, objstore.ErrFull, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			f.On(func(op string, _ *http.Request) cloudtest.Fault {
				if op == c.op {
					return c.fault
				}
				return cloudtest.Fault{}
			})
			data := random(1000)
			if c.op != "PutObject" {
				data = random(part + 1)
			}
			err := write(t.Context(), f.store, "d/k", data)
			var oe *objstore.Error
			if !errors.As(err, &oe) || c.kind != nil && !errors.Is(err, c.kind) || c.kind == nil && oe.Kind != nil {
				t.Errorf("%v of the kind %v, want %v", err, oe, c.kind)
			}
			if n := f.Seen(c.op); n < 1 || n > c.requests {
				t.Errorf("%d requests, want at most %d", n, c.requests)
			}
			f.On(nil)
			if _, err := f.plain.Stat(t.Context(), "d/k"); !errors.Is(err, objstore.ErrNotExist) {
				t.Errorf("an object is there: %v", err)
			}
		})
	}
}

func TestS3NoSuchBucket(t *testing.T) {
	t.Parallel()
	server := cloudtest.Start(t)
	s := openS3(t, server.Endpoint, "s3://missing/x")
	if err := write(t.Context(), s, "d/k", random(100)); !errors.Is(err, objstore.ErrNoBucket) {
		t.Error(err)
	}
	for _, err := range s.List(t.Context(), "") {
		if !errors.Is(err, objstore.ErrNoBucket) {
			t.Error(err)
		}
	}
}

// A stop in the middle of an upload ends it soon, and leaves no parts behind.
func TestS3StopInMidUpload(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			reached := make(chan struct{}, 10)
			never := make(chan struct{})
			f.On(func(o string, _ *http.Request) cloudtest.Fault {
				if o == op {
					reached <- struct{}{}
					return cloudtest.Fault{Wait: never}
				}
				return cloudtest.Fault{}
			})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- write(ctx, f.store, "d/k", random(3*part)) }()
			<-reached
			cancel()
			began := time.Now()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want the end of the context", err)
			}
			limit := time.Second
			if op == "UploadPart" {
				limit += 500 * time.Millisecond // which the part may take to arrive
			}
			if d := time.Since(began); d > limit {
				t.Errorf("the stop took %s", d)
			}
		})
	}
}

// A part that the server has when its upload is given up is stored: then the upload is dropped after that, or the error says that
// something may be left.
func TestS3LatePart(t *testing.T) {
	t.Parallel()
	server := cloudtest.Start(t)
	p := cloudtest.NewProxy(t, server)
	name := server.Bucket(t)
	store := openS3(t, p.Endpoint, "s3://"+name+"/p", "part_size", "5MB")
	begin := func() (w objstore.Writer, kill func(), late chan struct{}) {
		late = make(chan struct{})
		p.Forget()
		p.Once("UploadPart", cloudtest.Fault{Late: late})
		ctx, kill := context.WithCancel(t.Context())
		w, err := store.Create(ctx, "d/k")
		if err == nil {
			_, err = w.Write(random(part + 1))
		}
		if err != nil {
			t.Fatal(err)
		}
		await.Until(t, "the part is under way", func() bool { return p.Seen("UploadPart") == 1 })
		return w, kill, late
	}

	w, kill, late := begin()
	kill()
	dropped := make(chan error, 1)
	go func() { dropped <- w.Abort() }()
	await.Within(100*time.Millisecond, func() bool { return p.Passed("AbortMultipartUpload") > 0 }) // in vain, for the part comes first
	close(late)
	if err := <-dropped; err != nil || p.Passed("UploadPart") != 1 {
		t.Errorf("%v, %d parts passed", err, p.Passed("UploadPart"))
	}
	if parts := server.Parts(t, name); len(parts) != 0 {
		t.Errorf("left of a dropped upload: %q", parts)
	}

	w, kill, late = begin()
	kill()
	if err := w.Abort(); !errors.Is(err, objstore.ErrUnanswered) {
		t.Errorf("a part that was cut off: %v", err)
	}
	close(late)
}

// A server that goes silent is given up after the storage's timeout; one that is slow is not.
func TestS3SilentAndSlow(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	data := random(1 << 20)
	if err := f.plain.PutIfAbsent(t.Context(), "d/k", data); err != nil {
		t.Fatal(err)
	}
	obj, err := f.store.Open(t.Context(), "d/k")
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Close()
	f.Once("GetObject", cloudtest.Fault{Wait: make(chan struct{})})
	p := make([]byte, 100)
	if _, err := obj.ReadAt(p, 0); err != nil {
		t.Errorf("one silence: %v", err)
	}
	f.Once("GetObject", cloudtest.Fault{Slow: 300 * time.Millisecond})
	obj2, err := f.store.Open(t.Context(), "d/k")
	if err != nil {
		t.Fatal(err)
	}
	defer obj2.Close()
	got, err := io.ReadAll(io.NewSectionReader(obj2, 0, obj2.Size()))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("slow answers: %d bytes, %v", len(got), err)
	}
}

// Answers that end too early are taken up where they ended.
func TestS3TornAnswers(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	data := random(3 << 20)
	if err := f.plain.PutIfAbsent(t.Context(), "d/k", data); err != nil {
		t.Fatal(err)
	}
	n := 0
	f.On(func(op string, _ *http.Request) cloudtest.Fault {
		if n++; op == "GetObject" && n%2 == 1 {
			return cloudtest.Fault{CutAfter: 100_000}
		}
		return cloudtest.Fault{}
	})
	obj, err := f.store.Open(t.Context(), "d/k")
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Close()
	for _, size := range []int{len(data), 64 << 10} {
		got, err := io.ReadAll(io.NewSectionReader(&upTo{obj, size}, 0, obj.Size()))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("reads of %d: %d bytes, %v", size, len(got), err)
		}
	}
	f.On(func(op string, _ *http.Request) cloudtest.Fault {
		return cloudtest.Fault{Status: 500, Code: "InternalError"}
	})
	obj2, err := f.plain.Open(t.Context(), "d/k")
	if err != nil {
		t.Fatal(err)
	}
	defer obj2.Close()
	if _, err := f.store.Open(t.Context(), "d/k"); err == nil {
		t.Error("no error where every answer is one")
	}
}

// upTo reads at most so much at a time.
type upTo struct {
	io.ReaderAt
	n int
}

func (u *upTo) ReadAt(p []byte, off int64) (int, error) {
	if len(p) <= u.n {
		return u.ReaderAt.ReadAt(p, off)
	}
	return u.ReaderAt.ReadAt(p[:u.n], off)
}

// A footer takes one request, a scan in small steps few.
func TestS3Requests(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	data := random(10<<20 + 1)
	if err := write(t.Context(), f.store, "d/k", data); err != nil {
		t.Fatal(err)
	}
	f.Forget()
	obj, err := f.store.Open(t.Context(), "d/k")
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Close()
	footer := make([]byte, 8)
	for _, back := range []int64{8, 5000, 200_000} {
		if _, err := obj.ReadAt(footer, obj.Size()-back); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.Seen("GetObject") + f.Seen("HeadObject"); n != 1 {
		t.Errorf("%d requests for a footer, want 1", n)
	}
	f.Forget()
	got := make([]byte, 0, len(data))
	step := make([]byte, 4<<10)
	for off := int64(0); off < obj.Size(); {
		n, err := obj.ReadAt(step, off)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		got, off = append(got, step[:n]...), off+int64(n)
	}
	if !bytes.Equal(got, data) {
		t.Error("other bytes came back")
	}
	if n := f.Seen("GetObject"); n > 7 {
		t.Errorf("%d requests for a scan of 10 MiB in steps of 4 KiB, want at most 7", n)
	}
}

// An object that is replaced while it is open is not read as a mixture.
func TestS3ChangedWhileOpen(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	if err := f.plain.Replace(t.Context(), "d/k", bytes.Repeat([]byte("o"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	obj, err := f.store.Open(t.Context(), "d/k")
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Close()
	if err := f.plain.Replace(t.Context(), "d/k", bytes.Repeat([]byte("y"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if _, err := obj.ReadAt(make([]byte, 10), 0); !errors.Is(err, objstore.ErrChanged) {
		t.Errorf("%v, want ErrChanged", err)
	}
}

// What a killed process leaves of a large upload is found by the sweep of its prefix, and of no other.
func TestS3SweepUploads(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	for _, key := range []string{"d/at1-1", "d/at1-2", "d/at2"} {
		w, err := f.store.Create(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.Abort() })
		if _, err := w.Write(random(2*part + 1)); err != nil {
			t.Fatal(err)
		}
	}
	// A part that is under way while its upload is given up may bring the upload back: S3 says so, and a later sweep ends it. Here all have arrived.
	await.Until(t, "the parts arrive", func() bool { return f.Passed("UploadPart") >= 6 })

	for _, want := range []int{2, 0} {
		if n, err := f.plain.DeletePrefix(t.Context(), "d/at1-"); n != want || err != nil {
			t.Errorf("sweep = %d, %v, want %d", n, err, want)
		}
	}
	if n, err := f.plain.DeletePrefix(t.Context(), "d/at2"); n != 1 || err != nil {
		t.Errorf("sweep of the other = %d, %v, want 1", n, err)
	}
}

// Two parts per writer, however large the object.
func TestS3Memory(t *testing.T) {
	server := cloudtest.Start(t)
	s := openS3(t, server.Endpoint, "s3://"+server.Bucket(t), "part_size", "5MB")
	w, err := s.Create(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	piece := random(1 << 20)
	var most uint64
	var m runtime.MemStats
	for i := range 60 {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
		if i == 5 || i == 59 {
			runtime.GC()
			runtime.ReadMemStats(&m)
			if i == 5 {
				most = m.HeapAlloc + 2*part
			} else if m.HeapAlloc > most {
				t.Errorf("%d bytes are held after 60 MB, at most %d were to be", m.HeapAlloc, most)
			}
		}
	}
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A server without If-None-Match is told so by the storage's option, and is then asked before each write.
func TestS3WithoutConditions(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	s := openS3(t, f.Endpoint, f.plain.URL(""), "put_if_absent", "false", "part_size", "5MB")
	f.On(func(_ string, r *http.Request) cloudtest.Fault {
		if r.Header.Get("If-None-Match") != "" {
			return cloudtest.Fault{Status: 501, Code: "NotImplemented"}
		}
		return cloudtest.Fault{}
	})
	if err := write(t.Context(), f.store, "d/k", random(10)); err == nil || !strings.Contains(err.Error(), "put_if_absent") {
		t.Errorf("%v, want a word about put_if_absent", err)
	}
	for _, size := range []int{10, part + 1} {
		if err := write(t.Context(), s, "d/k", random(size)); err != nil {
			t.Error(err)
		}
		if err := write(t.Context(), s, "d/k", random(size)); !errors.Is(err, objstore.ErrExists) {
			t.Errorf("%v, want ErrExists", err)
		}
		if err := s.Delete(t.Context(), "d/k"); err != nil {
			t.Error(err)
		}
	}
}

// Neither a key nor what it opens is in any error.
func TestS3SecretsStaySecret(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.On(func(string, *http.Request) cloudtest.Fault {
		return cloudtest.Fault{Status: 403, Code: "SignatureDoesNotMatch"}
	})
	for _, err := range []error{
		write(t.Context(), f.store, "d/k", random(10)), write(t.Context(), f.store, "d/k", random(part+1)), f.store.Delete(t.Context(), "d/k"),
	} {
		if err == nil || strings.Contains(err.Error(), cloudtest.SecretKey) || strings.Contains(err.Error(), cloudtest.AccessKey) {
			t.Errorf("error: %v", err)
		}
	}
}
