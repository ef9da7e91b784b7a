package objstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spillwaydb/spillway/internal/fault"
)

// bucketWriter uploads an object while it is written. It holds two parts: one that fills, one that is under way. An object
// of less than one part is sent whole by Commit.
type bucketWriter struct {
	b     *bucket
	key   string
	token string
	life  context.Context // of the upload: the caller's, or until Abort
	end   context.CancelFunc
	ride  context.Context // of the part under way, which is not cut off when life ends: see drop
	cut   context.CancelFunc

	size   int64
	buf    []byte // what is not on its way yet
	spare  []byte // the part before, to be filled again
	upload upload // nil until the first part is full
	sent   chan error
	busy   bool // a part is under way; its end comes by sent
	failed error
	shown  bool // the request that makes the object visible was sent
	done   bool
}

func newToken() string { return rand.Text() }

func (b *bucket) Create(ctx context.Context, key string) (Writer, error) {
	if err := b.check(ctx, "create", key); err != nil {
		return nil, err
	}
	w := &bucketWriter{b: b, key: key, token: newToken(), sent: make(chan error, 1)}
	w.life, w.end = context.WithCancel(ctx)
	w.ride, w.cut = context.WithCancel(context.WithoutCancel(ctx))
	return w, nil
}

func (w *bucketWriter) Write(p []byte) (int, error) {
	if w.done {
		return 0, w.b.fail(w.life, "write", w.key, os.ErrClosed)
	}
	n := 0
	for n < len(p) {
		if len(w.buf) == w.b.partSize {
			if err := w.send(fault.UploadPart); err != nil {
				return n, w.b.fail(w.life, "write", w.key, err)
			}
		}
		k := min(len(p)-n, w.b.partSize-len(w.buf))
		w.buf = append(w.buf, p[n:n+k]...)
		n, w.size = n+k, w.size+int64(k)
	}
	return n, nil
}

// send puts a part on its way, once the one before has arrived.
func (w *bucketWriter) send(point fault.Point) error {
	if err := w.wait(); err != nil {
		return err
	}
	if w.upload == nil {
		if w.upload, w.failed = w.b.driver.begin(w.life, w.b.name(w.key), w.token); w.failed != nil {
			return w.failed
		}
	}
	if w.spare == nil {
		w.spare = make([]byte, 0, w.b.partSize)
	}
	part := w.buf
	w.buf, w.spare, w.busy = w.spare[:0], part, true
	go func() {
		w.sent <- fault.Do(w.ride, point, func() error { return w.upload.part(w.ride, part) })
	}()
	return nil
}

// wait waits for the part that is under way, if there is one, or until the upload's life ends.
func (w *bucketWriter) wait() error {
	if w.busy {
		select {
		case err := <-w.sent:
			w.busy = false
			if err != nil && w.failed == nil {
				w.failed = err
			}
		case <-w.life.Done():
			if w.failed == nil {
				w.failed = context.Cause(w.life)
			}
		}
	}
	return w.failed
}

func (w *bucketWriter) Commit(ctx context.Context) (Info, error) {
	if w.done {
		return Info{}, w.b.fail(w.life, "commit", w.key, os.ErrClosed)
	}
	// The end of either context ends the upload: of the one that Create was given, or of this one.
	stop := context.AfterFunc(ctx, w.end)
	defer stop()
	info, err := w.commit(ctx)
	if err != nil {
		err = w.b.fail(ctx, "commit", w.key, err)
		if w.shown {
			err = unanswered(err)
		}
		if drop := w.drop(); drop != nil {
			return Info{}, errors.Join(err, drop)
		}
		return Info{}, err
	}
	w.done = true
	w.end()
	w.cut()
	return info, nil
}

func (w *bucketWriter) commit(ctx context.Context) (Info, error) {
	if err := ctx.Err(); err != nil {
		return Info{}, err
	}
	err := w.finish()
	return w.b.settle(w.life, w.key, w.token, w.size, err)
}

// finish sends what is left and makes the object visible.
func (w *bucketWriter) finish() error {
	if w.upload == nil && w.failed == nil {
		w.shown = true
		return w.b.driver.put(w.life, w.b.name(w.key), w.token, w.buf, true)
	}
	if err := w.wait(); err != nil {
		return err
	}
	if len(w.buf) > 0 {
		if err := w.send(fault.LastPart); err != nil {
			return err
		}
		if err := w.wait(); err != nil {
			return err
		}
	}
	w.shown = true
	return fault.Do(w.life, fault.Complete, func() error { return w.upload.complete(w.life) })
}

func (w *bucketWriter) Abort() error {
	if w.done {
		return nil
	}
	return w.drop()
}

// drop ends what is under way and drops the parts. The caller may be on its way out, so the request has a time of its own.
//
// A part under way is given a while to arrive: a server that has all of a request that was given up carries it out, and stores the part when
// the upload is dropped already. A part that had to be cut off all the same may do so, and the error says that.
func (w *bucketWriter) drop() error {
	w.done = true
	w.end()
	late := !w.rest()
	w.buf, w.spare = nil, nil
	if w.upload == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.life), abandonTimeout)
	defer cancel()
	if err := w.upload.abort(ctx); err != nil {
		return w.b.fail(ctx, "abort", w.key, fmt.Errorf("drop the unfinished upload: %w", err))
	}
	if late {
		return unanswered(w.b.fail(ctx, "abort", w.key, errors.New("a part of the unfinished upload was cut off, and may arrive yet")))
	}
	return nil
}

// rest waits for the part under way, and cuts it off after partPatience: then it reports false.
func (w *bucketWriter) rest() bool {
	defer w.cut()
	if !w.busy {
		return true
	}
	w.busy = false
	select {
	case <-w.sent:
		return true
	case <-time.After(partPatience):
	}
	w.cut()
	<-w.sent
	return false
}
