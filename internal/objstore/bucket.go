package objstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
)

// bucket is a store in a bucket of a cloud, below a prefix. What clouds share is here; what they do each in their own way
// is behind driver.
type bucket struct {
	driver   driver
	base     string // URL of the bucket, without a slash at its end
	prefix   string // of every name, "" or ending in a slash
	partSize int    // bytes
	slashes  bool   // the cloud takes a backslash for a slash: keys with one are refused
}

var _ Store = (*bucket)(nil)

// driver talks to one bucket. Names are those of the bucket: a store's prefix and a key.
//
// An object carries the token of the write that made it, so that a writer who got no answer, or was told that the name is
// taken, can see whether it was itself: clouds and their clients repeat requests.
type driver interface {
	// put writes a small object. Without absent it replaces. errTaken if absent and the name is taken.
	put(ctx context.Context, name, token string, data []byte, absent bool) error
	// begin begins an object in parts. Nothing is visible before complete.
	begin(ctx context.Context, name, token string) (upload, error)
	// head describes an object.
	head(ctx context.Context, name string) (attrs, error)
	// tail reads the last bytes of an object, at most n, and describes the object that they belong to.
	tail(ctx context.Context, name string, n int64) ([]byte, attrs, error)
	// read fills p from an offset of the version that a describes. It returns how much it got, and an error if that is less.
	read(ctx context.Context, name string, a attrs, p []byte, off int64) (int, error)
	// list gives the objects whose names begin with prefix, page by page.
	list(ctx context.Context, prefix string) iter.Seq2[attrs, error]
	// remove removes objects, at most removeBatch. What is not there is no error.
	remove(ctx context.Context, names []string) error
	// sweep drops unfinished uploads of names that begin with prefix and counts them.
	sweep(ctx context.Context, prefix string) (int, error)
	// kind finds the sentinel for an error of the cloud's client, or nil.
	kind(err error) error
}

// upload is an object in parts. One goroutine uses it.
type upload interface {
	// part uploads the next part. The data may be used again when it returns.
	part(ctx context.Context, data []byte) error
	// complete makes the object visible. errTaken if the name is taken.
	complete(ctx context.Context) error
	// abort drops the parts. Nothing of the upload may be running.
	abort(ctx context.Context) error
}

// attrs describe an object of a bucket.
type attrs struct {
	name    string
	size    int64
	modTime time.Time
	version string // changes when the object is replaced
	token   string // of its write; List leaves it out
}

const (
	removeBatch = 1000 // names per request to delete
	// maxPrefix leaves most of a name's 1024 bytes to the keys.
	maxPrefix = 300
	// abandonTimeout bounds the request that drops an upload whose caller has gone.
	abandonTimeout = 20 * time.Second
	// partPatience is how long a part under way may take when its upload is given up: a server that has all of it is about to answer.
	partPatience = 500 * time.Millisecond
)

// errTaken is the driver's word for a name that is taken, by whomever.
var errTaken = errors.New("the name is taken")

func (b *bucket) URL(key string) string {
	if key == "" {
		return strings.TrimSuffix(b.base+"/"+b.prefix, "/")
	}
	return b.base + "/" + b.prefix + key
}

func (b *bucket) name(key string) string { return b.prefix + key }

func (b *bucket) check(ctx context.Context, op, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if b.slashes && strings.Contains(key, `\`) {
		return &KeyError{key, "has a backslash, which Azure takes for a slash"}
	}
	if len(b.name(key)) > maxKey {
		return &KeyError{key, fmt.Sprintf("is longer than 1024 bytes with the storage's prefix of %d", len(b.prefix))}
	}
	if err := ctx.Err(); err != nil {
		return b.fail(ctx, op, key, err)
	}
	return nil
}

// fail wraps an error of the driver. What was cut short by the caller says so, whatever the client made of it.
func (b *bucket) fail(ctx context.Context, op, key string, err error) error {
	if end := ctx.Err(); end != nil && !errors.Is(err, end) {
		err = fmt.Errorf("%w: %w", end, err)
	}
	return &Error{Op: op, URL: b.URL(key), Kind: b.kind(err), Err: err}
}

func (b *bucket) kind(err error) error {
	for _, sentinel := range []error{ErrExists, ErrNotExist, ErrChanged, ErrForbidden, ErrNoBucket} {
		if errors.Is(err, sentinel) {
			return sentinel
		}
	}
	if errors.Is(err, errTaken) {
		return ErrExists
	}
	return b.driver.kind(err)
}

func (b *bucket) Stat(ctx context.Context, key string) (Info, error) {
	if err := b.check(ctx, "stat", key); err != nil {
		return Info{}, err
	}
	a, err := b.driver.head(ctx, b.name(key))
	if err != nil {
		return Info{}, b.fail(ctx, "stat", key, err)
	}
	return Info{Key: key, Size: a.size, ModTime: a.modTime}, nil
}

// unanswered marks the error of an upload that was sent, unless an answer says that there will be no object: a request that was given
// up can lie in a queue of the network or of the server, and be carried out later.
func unanswered(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Kind == nil {
		e.Kind = ErrUnanswered
	}
	return err
}

func (b *bucket) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if err := b.check(ctx, "put", key); err != nil {
		return err
	}
	token := newToken()
	err := b.driver.put(ctx, b.name(key), token, data, true)
	if _, err = b.settle(ctx, key, token, int64(len(data)), err); err != nil {
		return unanswered(b.fail(ctx, "put", key, err))
	}
	return nil
}

func (b *bucket) Replace(ctx context.Context, key string, data []byte) error {
	if err := b.check(ctx, "replace", key); err != nil {
		return err
	}
	if err := b.driver.put(ctx, b.name(key), newToken(), data, false); err != nil {
		return b.fail(ctx, "replace", key, err)
	}
	return nil
}

// settle finds out what became of a write that ended with err: the object that is there now has our token, another's, or
// is absent. An acknowledged write is looked at too, before anybody relies on it.
func (b *bucket) settle(ctx context.Context, key, token string, size int64, err error) (Info, error) {
	if err != nil && (ctx.Err() != nil || errors.Is(b.kind(err), ErrDenied) || errors.Is(b.kind(err), ErrNoBucket)) {
		return Info{}, err
	}
	a, headErr := b.driver.head(ctx, b.name(key))
	switch {
	case headErr != nil && err != nil:
		return Info{}, err
	case headErr != nil:
		return Info{}, fmt.Errorf("look at the object after its upload: %w", headErr)
	case a.token != token && err == nil:
		return Info{}, fmt.Errorf("%w: it was acknowledged, but another's object is there", ErrChanged)
	case a.token != token:
		return Info{}, fmt.Errorf("%w: %w", ErrExists, err)
	case a.size != size:
		return Info{}, fmt.Errorf("the object has %d bytes after its upload, %d were sent", a.size, size)
	}
	return Info{Key: key, Size: a.size, ModTime: a.modTime}, nil
}

func (b *bucket) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if err := checkPrefix(prefix); err != nil {
			yield(Info{}, err)
			return
		}
		if err := ctx.Err(); err != nil {
			yield(Info{}, b.fail(ctx, "list", prefix, err))
			return
		}
		for a, err := range b.driver.list(ctx, b.name(prefix)) {
			if err != nil {
				yield(Info{}, b.fail(ctx, "list", prefix, err))
				return
			}
			key := strings.TrimPrefix(a.name, b.prefix)
			if CheckKey(key) != nil {
				continue // a folder's marker, or something that was not put here by a Store
			}
			if !yield(Info{Key: key, Size: a.size, ModTime: a.modTime}, nil) {
				return
			}
		}
	}
}

func (b *bucket) Delete(ctx context.Context, key string) error {
	if err := b.check(ctx, "delete", key); err != nil {
		return err
	}
	if err := b.driver.remove(ctx, []string{b.name(key)}); err != nil {
		return b.fail(ctx, "delete", key, err)
	}
	return nil
}

func (b *bucket) DeletePrefix(ctx context.Context, prefix string) (int, error) {
	if prefix == "" {
		return 0, &KeyError{prefix, "an empty prefix would delete everything"}
	}
	// Uploads first: one that ends meanwhile is then found among the objects.
	n, err := 0, checkPrefix(prefix)
	if err != nil {
		return 0, err
	}
	if n, err = b.driver.sweep(ctx, b.name(prefix)); err != nil {
		return n, b.fail(ctx, "delete", prefix, err)
	}
	var names []string
	for info, err := range b.List(ctx, prefix) {
		if err != nil {
			return n, err
		}
		if names = append(names, b.name(info.Key)); len(names) == removeBatch {
			if err := b.driver.remove(ctx, names); err != nil {
				return n, b.fail(ctx, "delete", prefix, err)
			}
			n, names = n+len(names), names[:0]
		}
	}
	if len(names) > 0 {
		if err := b.driver.remove(ctx, names); err != nil {
			return n, b.fail(ctx, "delete", prefix, err)
		}
	}
	return n + len(names), nil
}
