package objstore

import (
	"context"
	"io"
	"iter"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Store keeps objects under keys. Its methods may be called by several goroutines and processes at once.
//
// Every method refuses keys that CheckKey refuses. Errors carry the sentinels of this package.
type Store interface {
	// URL names the object for other programs and for the ledger. Different keys have different URLs. URL("") names the
	// store.
	URL(key string) string

	// Create begins an object. Nothing is visible under the key until Commit; whether the key is free is also only
	// decided then. The caller ends with Commit or Abort.
	Create(ctx context.Context, key string) (Writer, error)

	// Open opens an object for reading. ErrNotExist.
	Open(ctx context.Context, key string) (Object, error)

	// Stat describes an object. ErrNotExist.
	Stat(ctx context.Context, key string) (Info, error)

	// List gives the objects whose keys begin with prefix, a string and not only a folder, in no particular order.
	// Objects that come or go meanwhile may or may not be seen. It ends after the first error.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]

	// Delete removes an object. Deleting what is not there is no error.
	Delete(ctx context.Context, key string) error

	// DeletePrefix removes the objects whose keys begin with prefix, and what unfinished writes of such objects left
	// behind, and counts both. The prefix must not be empty. A writer that is still at work on such an object fails.
	DeletePrefix(ctx context.Context, prefix string) (int, error)

	// Replace puts an object in place of an earlier one, if there is one. Readers see the old or the new content, never
	// a mixture or nothing. Durable when it returns.
	Replace(ctx context.Context, key string, data []byte) error

	// PutIfAbsent writes a small object: Create, Write and Commit in one. ErrExists.
	PutIfAbsent(ctx context.Context, key string, data []byte) error
}

// Writer writes one object. It is used by one goroutine.
type Writer interface {
	io.Writer

	// Commit makes the object durable and visible. ErrExists when the key was taken: what is there stays. After any
	// other error the object may or may not exist; DeletePrefix settles it, unless it is ErrUnanswered. Only the first call counts.
	Commit(ctx context.Context) (Info, error)

	// Abort drops what was written. After Commit, or a second time, it does nothing.
	Abort() error
}

// Replacer is a Store that can write a large object in place of an earlier one as it comes.
type Replacer interface {
	// CreateReplacing is Create, but Commit puts the object in place of an earlier one, as Replace does. ErrNotExist when
	// another writer, which began later, has committed before: what it wrote stays.
	CreateReplacing(ctx context.Context, key string) (Writer, error)
}

// Object is an open object. Several goroutines may read it.
type Object interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Info describes an object.
type Info struct {
	Key     string
	Size    int64
	ModTime time.Time
}

const (
	tempPrefix = ".tmp-"
	// A file name has 255 bytes almost everywhere; an unfinished write needs some for itself.
	maxPart = 200
	maxKey  = 1024 // the limit of S3
)

// CheckKey says whether key can name an object: parts joined by "/", none of them empty, ".", ".." or longer than 200
// bytes; valid UTF-8 without control characters; at most 1024 bytes. Parts that begin with ".tmp-" are reserved. The
// error is *KeyError.
func CheckKey(key string) error {
	switch {
	case key == "":
		return &KeyError{key, "is empty"}
	case len(key) > maxKey:
		return &KeyError{key, "is longer than 1024 bytes"}
	}
	if err := checkText(key); err != nil {
		return err
	}
	for part := range strings.SplitSeq(key, "/") {
		if err := checkPart(key, part); err != nil {
			return err
		}
	}
	return nil
}

func checkPart(key, part string) error {
	switch {
	case part == "":
		return &KeyError{key, "has an empty part"}
	case part == "." || part == "..":
		return &KeyError{key, "has a part that is " + part}
	case len(part) > maxPart:
		return &KeyError{key, "has a part longer than 200 bytes"}
	case strings.HasPrefix(part, tempPrefix):
		return &KeyError{key, "has a part that begins with " + tempPrefix + ", which is reserved"}
	}
	return nil
}

func checkText(key string) error {
	if !utf8.ValidString(key) {
		return &KeyError{key, "is not valid UTF-8"}
	}
	if strings.ContainsFunc(key, unicode.IsControl) {
		return &KeyError{key, "has a control character"}
	}
	return nil
}

// checkPrefix is CheckKey for the beginning of a key: its last part may be incomplete or empty.
func checkPrefix(prefix string) error {
	if err := checkText(prefix); err != nil {
		return err
	}
	parts := strings.Split(prefix, "/")
	for _, part := range parts[:len(parts)-1] {
		if err := checkPart(prefix, part); err != nil {
			return err
		}
	}
	return nil
}
