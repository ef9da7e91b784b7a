package objstore

import (
	"context"
	"errors"
	"io"
	"path"
)

// Rivals is a Store in which a writer of CreateReplacing that was killed leaves a file behind.
//
// Whose Commit succeeds removes what it found unfinished under its key when it began. A writer among them that is still at work is
// older, and its Commit answers ErrNotExist: it has to look again at what it wants to say. So a process that was frozen cannot put its
// old content in place of a newer one either, and no clock is asked.
type Rivals interface {
	// Unfinished counts the writes of an object that have not ended, or never will.
	Unfinished(ctx context.Context, key string) (int, error)
}

var _ Rivals = (*local)(nil)

func (l *local) Unfinished(ctx context.Context, key string) (int, error) {
	root, err := l.begin(ctx, "list", key)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	names, err := unfinished(root, key)
	if err != nil {
		return 0, l.fail("list", key, err)
	}
	return len(names), nil
}

// unfinished are the files that are, or were, to become the object.
func unfinished(root Folder, key string) (names []string, err error) {
	dir := path.Dir(key)
	f, err := root.Open(dir)
	if errors.Is(kindOf(err), ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(listBatch)
		for _, entry := range entries {
			name := path.Join(dir, entry.Name())
			if final, isTemp := finalName(name); isTemp && final == key && entry.Type().IsRegular() {
				names = append(names, name)
			}
		}
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// replaceRivals gives the file its name, and removes those that were there when it was begun. One that cannot be removed stays for
// the next writer: the object is written.
func (w *writer) replaceRivals() error {
	if err := w.rename(); err != nil {
		return err
	}
	for _, name := range w.rivals {
		_, _ = w.store.remove(w.root, name)
	}
	return nil
}
