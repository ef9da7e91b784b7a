package cloudtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is what happens to one request. The zero value is none.
type Fault struct {
	Status   int           // answered in place of the server, which hears nothing
	Code     string        // S3's word for that status
	Reset    bool          // the connection is reset before the server hears anything
	LoseBody int           // the request goes on; of its body, this many bytes
	NoAnswer bool          // the server does its work; then the connection is reset
	CutAfter int           // of the answer's body come this many bytes, then a reset; 0: all
	Wait     chan struct{} // nothing happens until it is closed, or the client has gone
	Late     chan struct{} // nothing happens until it is closed, and then the server gets all of the request, even if the client has gone
	Slow     time.Duration // between pieces of the answer's body
}

// Proxy stands before a server.
type Proxy struct {
	Endpoint string
	target   string
	client   *http.Client

	mu     sync.Mutex
	decide func(op string, r *http.Request) Fault
	seen   map[string]int
	passed map[string]int
}

// NewProxy runs a proxy until the test ends.
func NewProxy(t testing.TB, s *Server) *Proxy {
	p := &Proxy{target: strings.TrimPrefix(s.Endpoint, "http://"), client: &http.Client{Transport: &http.Transport{DisableCompression: true}}, seen: map[string]int{}, passed: map[string]int{}}
	server := httptest.NewServer(p)
	p.Endpoint = server.URL
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	return p
}

// On says what happens to each request from now on; nil is nothing. op is the name of the operation: PutObject, UploadPart, ….
func (p *Proxy) On(decide func(op string, r *http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decide = decide
}

// Once makes the next requests of an operation, one for each fault, suffer it.
func (p *Proxy) Once(op string, faults ...Fault) {
	var mu sync.Mutex
	p.On(func(o string, _ *http.Request) Fault {
		mu.Lock()
		defer mu.Unlock()
		if o != op || len(faults) == 0 {
			return Fault{}
		}
		f := faults[0]
		faults = faults[1:]
		return f
	})
}

// Seen counts the requests of an operation so far.
func (p *Proxy) Seen(op string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[op]
}

// Passed counts the requests of an operation that the server has answered so far.
func (p *Proxy) Passed(op string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed[op]
}

// Forget sets the counts to zero.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen, p.passed = map[string]int{}, map[string]int{}
}

func (p *Proxy) fault(r *http.Request) Fault {
	op := Operation(r)
	p.mu.Lock()
	p.seen[op]++
	decide := p.decide
	p.mu.Unlock()
	if decide == nil {
		return Fault{}
	}
	return decide(op, r)
}

// Operation names what a request asks of S3.
func Operation(r *http.Request) string {
	q := r.URL.Query()
	key := strings.Count(strings.Trim(r.URL.Path, "/"), "/") > 0
	switch {
	case r.Method == http.MethodGet && q.Has("uploads"):
		return "ListMultipartUploads"
	case r.Method == http.MethodGet && !key:
		return "ListObjectsV2"
	case r.Method == http.MethodGet:
		return "GetObject"
	case r.Method == http.MethodHead:
		return "HeadObject"
	case r.Method == http.MethodPost && q.Has("uploads"):
		return "CreateMultipartUpload"
	case r.Method == http.MethodPost && q.Has("uploadId"):
		return "CompleteMultipartUpload"
	case r.Method == http.MethodPost && q.Has("delete"):
		return "DeleteObjects"
	case r.Method == http.MethodPut && q.Has("partNumber"):
		return "UploadPart"
	case r.Method == http.MethodPut:
		return "PutObject"
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		return "AbortMultipartUpload"
	case r.Method == http.MethodDelete:
		return "DeleteObject"
	}
	return r.Method
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := p.fault(r)
	if f.Wait != nil || f.Late != nil {
		data, err := io.ReadAll(r.Body) // only then is it noticed that a client has gone
		if err != nil {
			return
		}
		gone := r.Context().Done()
		if f.Late != nil {
			gone = nil
			r = r.WithContext(context.WithoutCancel(r.Context()))
		}
		r.Body = io.NopCloser(bytes.NewReader(data))
		select {
		case <-f.Wait:
		case <-f.Late:
		case <-gone:
			return
		}
	}
	switch {
	case f.Reset:
		reset(w)
		return
	case f.Status != 0:
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(f.Status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>injected</Message></Error>`, f.Code)
		}
		return
	}
	p.forward(w, r, f)
}

func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, f Fault) {
	out := r.Clone(r.Context())
	out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", p.target // out.Host stays: it is signed
	if f.LoseBody > 0 {
		out.Body = &torn{ReadCloser: r.Body, left: f.LoseBody}
	}
	if r.ContentLength == 0 {
		out.Body = http.NoBody
	}
	answer, err := p.client.Do(out)
	if err == nil {
		p.mu.Lock()
		p.passed[Operation(r)]++
		p.mu.Unlock()
	}
	if err != nil {
		reset(w)
		return
	}
	defer answer.Body.Close()
	if f.NoAnswer {
		_, _ = io.Copy(io.Discard, answer.Body)
		reset(w)
		return
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	p.body(w, answer.Body, f)
}

func (p *Proxy) body(w http.ResponseWriter, body io.Reader, f Fault) {
	switch {
	case f.CutAfter > 0:
		_, _ = io.CopyN(w, body, int64(f.CutAfter))
		_ = http.NewResponseController(w).Flush()
		reset(w)
	case f.Slow > 0:
		for {
			if _, err := io.CopyN(w, body, 64<<10); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			<-time.After(f.Slow)
		}
	default:
		_, _ = io.Copy(w, body)
	}
}

// torn is a request's body that ends in an error.
type torn struct {
	io.ReadCloser
	left int
}

func (t *torn) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, errors.New("torn")
	}
	n, err := t.ReadCloser.Read(p[:min(len(p), t.left)])
	t.left -= n
	return n, err
}

// reset drops the client's connection so that it sees a reset.
func reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
