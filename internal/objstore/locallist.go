package objstore

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"
)

const listBatch = 512

// lostAndFound stands at the top of ext file systems, closed to all but root.
const lostAndFound = "lost+found"

func (l *local) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		err := l.walk(ctx, "list", prefix, func(root Folder, name string) error {
			if _, isTemp := finalName(name); isTemp || !strings.HasPrefix(name, prefix) {
				return nil
			}
			info, err := root.Lstat(name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // deleted meanwhile
			}
			if err != nil {
				return err
			}
			if !yield(infoOf(name, info), nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Info{}, err)
		}
	}
}

func (l *local) DeletePrefix(ctx context.Context, prefix string) (int, error) {
	if prefix == "" {
		return 0, &KeyError{prefix, "an empty prefix would delete everything"}
	}
	var names []string
	err := l.walk(ctx, "delete", prefix, func(_ Folder, name string) error {
		key := name
		if final, isTemp := finalName(name); isTemp {
			key = final
		}
		if strings.HasPrefix(key, prefix) {
			names = append(names, name)
		}
		return nil
	})
	if err != nil || len(names) == 0 {
		return 0, err
	}
	return l.removeAll(ctx, prefix, names)
}

func (l *local) removeAll(ctx context.Context, prefix string, names []string) (int, error) {
	root, err := l.root()
	if err != nil {
		return 0, l.fail("delete", prefix, err)
	}
	defer root.Close()
	n := 0
	dirs := map[string]struct{}{}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return n, l.fail("delete", name, err)
		}
		removed, err := l.remove(root, name)
		if err != nil {
			return n, l.fail("delete", name, err)
		}
		if removed {
			n++
			dirs[path.Dir(name)] = struct{}{}
		}
	}
	for dir := range dirs {
		if err := l.syncDir(root, dir); err != nil {
			return n, l.fail("delete", prefix, err)
		}
	}
	return n, nil
}

// walk visits the files, temporary ones included, in the folders where keys that begin with prefix can be. visit may
// return fs.SkipAll to end.
func (l *local) walk(ctx context.Context, op, prefix string, visit func(root Folder, name string) error) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	root, err := l.root()
	if err != nil {
		return l.fail(op, prefix, err)
	}
	defer root.Close()
	w := walker{root: root, prefix: prefix, visit: visit}
	err = w.folder(ctx, path.Dir(prefix+"x")) // "a/b" and "a/" are both to be found in "a"
	if err == nil || errors.Is(err, fs.SkipAll) {
		return nil
	}
	return l.fail(op, prefix, err)
}

type walker struct {
	root   Folder
	prefix string
	visit  func(root Folder, name string) error
}

func (w *walker) folder(ctx context.Context, dir string) error {
	info, err := w.root.Stat(dir)
	if err == nil && !info.IsDir() {
		return nil // a prefix below an object; nor open a named pipe, which would wait for its other end
	}
	f, err := w.root.Open(dir)
	if errors.Is(kindOf(err), ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := f.ReadDir(listBatch)
		for _, entry := range entries {
			if err := w.entry(ctx, path.Join(dir, entry.Name()), entry.Type()); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (w *walker) entry(ctx context.Context, name string, kind fs.FileMode) error {
	switch {
	case kind.IsDir() && name != lostAndFound && w.mayHold(name):
		return w.folder(ctx, name)
	case kind.IsRegular():
		return w.visit(w.root, name)
	default:
		return nil // a symbolic link or a device is no object
	}
}

// mayHold reports whether keys below the folder can begin with the prefix.
func (w *walker) mayHold(dir string) bool {
	below := dir + "/"
	return strings.HasPrefix(below, w.prefix) || strings.HasPrefix(w.prefix, below)
}
