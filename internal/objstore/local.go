package objstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// Cold rows are as private as the database's own files; the group may be given to readers.
const (
	dirMode  = 0o750
	fileMode = 0o640
)

// local is a store in a folder. It opens the folder anew for each operation, so that it sees what its path means now,
// and works below it through os.Root, so that no key and no symbolic link leads out.
type local struct {
	dir   string // absolute
	files Files

	mu      sync.Mutex
	durable map[string]fs.FileInfo // folders whose entry in their parent is known to be on disk, and which they were

	observe func(step, name string) // for tests of the order of steps; nil otherwise
}

var _ Store = (*local)(nil)

// OpenLocal opens the store in a folder, which it makes if it is missing. dir is absolute. files is the operating system's; tests put
// disks that fail in its place.
func OpenLocal(ctx context.Context, dir string, files Files) (Store, error) {
	return openOn(ctx, dir, files)
}

func openLocal(ctx context.Context, dir string) (*local, error) { return openOn(ctx, dir, OS{}) }

func openOn(ctx context.Context, dir string, files Files) (*local, error) {
	l := &local{dir: dir, files: files, durable: map[string]fs.FileInfo{}}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := makeDurable(files, dir); err != nil {
		return nil, l.fail("open", "", err)
	}
	root, err := l.root()
	if err != nil {
		return nil, l.fail("open", "", err)
	}
	return l, root.Close()
}

// makeDurable makes a folder and those above it that are missing, and syncs the parents of the new ones.
func makeDurable(files Files, dir string) error {
	err := files.Mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
		if err := makeDurable(files, filepath.Dir(dir)); err != nil {
			return err
		}
		err = files.Mkdir(dir)
	}
	if err != nil {
		// Exists, or a read-only file system says so before it looks: what counts is whether it is there.
		if info, statErr := files.Stat(dir); statErr == nil {
			if !info.IsDir() {
				return &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
			}
			return nil
		} else if errors.Is(err, fs.ErrExist) { // what went wrong is the look
			err = statErr
		}
		return err
	}
	return files.SyncDir(filepath.Dir(dir))
}

func (l *local) root() (Folder, error) { return l.files.Root(l.dir) }

func (l *local) URL(key string) string {
	u := url.URL{Scheme: "file", Path: filepath.Join(l.dir, key)}
	return u.String()
}

// begin checks what every operation checks, and opens the folder.
func (l *local) begin(ctx context.Context, op, key string) (Folder, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, l.fail(op, key, err)
	}
	root, err := l.root()
	if err != nil {
		return nil, l.fail(op, key, err)
	}
	return root, nil
}

func (l *local) fail(op, key string, err error) error {
	return &Error{Op: op, URL: l.URL(key), Kind: kindOf(err), Err: err}
}

func (l *local) Open(ctx context.Context, key string) (Object, error) {
	root, err := l.begin(ctx, "open", key)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if _, err := regular(root, key); err != nil { // a named pipe would wait for its other end
		return nil, l.fail("open", key, err)
	}
	f, err := root.Open(key)
	if err != nil {
		return nil, l.fail("open", key, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, l.fail("open", key, errors.Join(err, f.Close()))
	}
	return &object{File: f, size: info.Size()}, nil
}

// regular describes a file that is an object: a folder, a link or a device is none.
func regular(root Folder, key string) (fs.FileInfo, error) {
	info, err := root.Lstat(key)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: key, Err: fmt.Errorf("no regular file: %w", fs.ErrNotExist)}
	}
	return info, err
}

type object struct {
	File
	size int64
}

func (o *object) Size() int64 { return o.size }

func (l *local) Stat(ctx context.Context, key string) (Info, error) {
	root, err := l.begin(ctx, "stat", key)
	if err != nil {
		return Info{}, err
	}
	defer root.Close()
	info, err := regular(root, key)
	if err != nil {
		return Info{}, l.fail("stat", key, err)
	}
	return infoOf(key, info), nil
}

func infoOf(key string, info fs.FileInfo) Info {
	return Info{Key: key, Size: info.Size(), ModTime: info.ModTime()}
}

func (l *local) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	w, err := l.create(ctx, "put", key, 0)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(data); err != nil {
		return err
	}
	_, err = w.Commit(ctx)
	return err
}

func (l *local) Replace(ctx context.Context, key string, data []byte) error {
	w, err := l.create(ctx, "replace", key, 0)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(data); err != nil {
		return err
	}
	w.appear = w.rename
	_, err = w.Commit(ctx)
	return err
}

var _ Replacer = (*local)(nil)

func (l *local) CreateReplacing(ctx context.Context, key string) (Writer, error) {
	w, err := l.create(ctx, "replace", key, bufferSize)
	if err != nil {
		return nil, err
	}
	found, err := unfinished(w.root, key)
	if err != nil {
		return nil, l.fail("replace", key, errors.Join(err, w.drop()))
	}
	w.rivals = slices.DeleteFunc(found, func(name string) bool { return name == w.temp })
	w.appear = w.replaceRivals
	return w, nil
}

func (l *local) Delete(ctx context.Context, key string) error {
	root, err := l.begin(ctx, "delete", key)
	if err != nil {
		return err
	}
	defer root.Close()
	removed, err := l.remove(root, key)
	if err == nil && removed {
		err = l.syncDir(root, path.Dir(key))
	}
	if err != nil {
		return l.fail("delete", key, err)
	}
	return nil
}

// remove removes a file, never a folder.
func (l *local) remove(root Folder, name string) (bool, error) {
	info, err := root.Lstat(name)
	if err == nil && !info.IsDir() {
		l.note("remove", name)
		err = root.Remove(name)
	}
	if errors.Is(kindOf(err), ErrNotExist) {
		return false, nil
	}
	return err == nil && !info.IsDir(), err
}

func (l *local) syncDir(root Folder, dir string) error {
	l.note("sync", dir)
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (l *local) note(step, name string) {
	if l.observe != nil {
		l.observe(step, name)
	}
}
