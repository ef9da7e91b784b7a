package objstore

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/spillwaydb/spillway/internal/fault"
)

const (
	// Small pieces are gathered into writes of this size; larger ones go to the file as they are.
	bufferSize = 512 << 10
	suffixLen  = 12
	maxDurable = 16 << 10 // folders that are known to be on disk; the others are synced once more
)

// writer writes a file aside, named after the object and in its folder, and links it to its name at the end. link(2) is
// what makes put-if-absent safe between processes: rename would replace.
type writer struct {
	store  *local
	root   Folder
	op     string
	key    string
	temp   string
	file   File
	out    io.Writer     // file, or buf
	buf    *bufio.Writer // nil when unbuffered
	appear func() error
	rivals []string // unfinished files of the same object when this one was begun
	done   bool
}

func (l *local) Create(ctx context.Context, key string) (Writer, error) {
	w, err := l.create(ctx, "create", key, bufferSize)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (l *local) create(ctx context.Context, op, key string, buffer int) (*writer, error) {
	root, err := l.begin(ctx, op, key)
	if err != nil {
		return nil, err
	}
	w := &writer{store: l, root: root, op: op, key: key, temp: tempName(key)}
	w.appear = w.link
	err = l.makeParents(root, key)
	if err == nil {
		w.file, err = root.OpenFile(w.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	}
	if err != nil {
		return nil, l.fail(op, key, errors.Join(err, root.Close()))
	}
	w.out = w.file
	if buffer > 0 {
		w.buf = bufio.NewWriterSize(w.file, buffer)
		w.out = w.buf
	}
	return w, nil
}

// tempName is where an object is written: beside its place, under a name that tells which object it was to be.
func tempName(key string) string {
	dir, base := path.Split(key)
	return dir + tempPrefix + base + "-" + rand.Text()[:suffixLen]
}

// finalName gives the key of the object that a file made by tempName was to become.
func finalName(name string) (string, bool) {
	dir, base := path.Split(name)
	base, ok := strings.CutPrefix(base, tempPrefix)
	cut := len(base) - suffixLen - 1
	if !ok || cut < 1 || base[cut] != '-' {
		return "", false
	}
	return dir + base[:cut], true
}

// makeParents makes the folders above key. A symbolic link among them is refused even if it stays inside: List would
// not follow it.
func (l *local) makeParents(root Folder, key string) error {
	for _, dir := range parents(key) {
		err := root.Mkdir(dir, dirMode)
		if err == nil {
			l.forget(dir)
			continue
		}
		info, statErr := root.Lstat(dir)
		if statErr != nil {
			if errors.Is(err, fs.ErrExist) { // what went wrong is the look
				err = statErr
			}
			return err
		}
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("not a folder")}
		}
		l.forgetOther(dir, info)
	}
	return nil
}

// parents are the folders above key, the outermost first, without the store's own.
func parents(key string) []string {
	var dirs []string
	for i, c := range key {
		if c == '/' {
			dirs = append(dirs, key[:i])
		}
	}
	return dirs
}

func (w *writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, w.store.fail("write", w.key, os.ErrClosed)
	}
	n, err := w.out.Write(p)
	if err != nil {
		return n, w.store.fail("write", w.key, err)
	}
	return n, nil
}

func (w *writer) Commit(ctx context.Context) (Info, error) {
	if w.done {
		return Info{}, w.store.fail("commit", w.key, os.ErrClosed)
	}
	info, err := w.commit(ctx)
	if err != nil {
		return Info{}, w.store.fail("commit", w.key, errors.Join(err, w.drop()))
	}
	w.done = true
	if err := w.root.Close(); err != nil {
		return Info{}, w.store.fail("commit", w.key, err)
	}
	return info, nil
}

// commit: the content is on disk before the name appears, the name before the caller hears of it.
func (w *writer) commit(ctx context.Context) (Info, error) {
	info, err := w.finishFile(ctx)
	if err != nil {
		return Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return Info{}, err
	}
	if err := w.checkPlace(); err != nil {
		return Info{}, err
	}
	if err := fault.Do(ctx, fault.Link, w.appear); err != nil {
		return Info{}, err
	}
	if err := fault.Do(ctx, fault.SyncDir, func() error { return w.store.syncDir(w.root, path.Dir(w.key)) }); err != nil {
		return Info{}, err
	}
	if err := w.store.syncParents(w.root, w.key); err != nil {
		return Info{}, err
	}
	return infoOf(w.key, info), nil
}

func (w *writer) finishFile(ctx context.Context) (fs.FileInfo, error) {
	if w.buf != nil {
		if err := w.buf.Flush(); err != nil {
			return nil, err
		}
	}
	w.store.note("sync", w.temp)
	if err := fault.Do(ctx, fault.Fsync, w.file.Sync); err != nil {
		return nil, err
	}
	info, err := w.file.Stat()
	if err != nil {
		return nil, err
	}
	return info, w.file.Close()
}

// checkPlace asks whether the path of the store still means the folder in which we write.
func (w *writer) checkPlace() error {
	ours, err := w.root.Stat(".")
	if err != nil {
		return err
	}
	now, err := w.store.files.Stat(w.store.dir)
	if err != nil {
		return errors.Join(ErrReplaced, err)
	}
	if !w.store.files.Same(ours, now) {
		return ErrReplaced
	}
	return nil
}

// link gives the file its name, if that is free.
func (w *writer) link() error {
	w.store.note("link", w.key)
	err := w.root.Link(w.temp, w.key)
	switch {
	case errors.Is(err, fs.ErrExist) && w.linked():
		// NFS may answer "exists" to a request that it had carried out before.
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EMLINK):
		return fmt.Errorf("the file system cannot make hard links, which the storage needs: %w", err)
	case err != nil:
		return err
	}
	w.store.note("remove", w.temp)
	return w.root.Remove(w.temp)
}

func (w *writer) linked() bool {
	temp, errT := w.root.Lstat(w.temp)
	final, errF := w.root.Lstat(w.key)
	return errT == nil && errF == nil && w.store.files.Same(temp, final)
}

// rename gives the file its name, in place of what had it.
func (w *writer) rename() error {
	w.store.note("rename", w.key)
	return w.root.Rename(w.temp, w.key)
}

func (w *writer) Abort() error {
	if w.done {
		return nil
	}
	if err := w.drop(); err != nil {
		return w.store.fail("abort", w.key, err)
	}
	return nil
}

// drop closes and removes the file. What it cannot remove DeletePrefix finds.
func (w *writer) drop() error {
	w.done = true
	err := w.file.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	_, removeErr := w.store.remove(w.root, w.temp)
	return errors.Join(err, removeErr, w.root.Close())
}

// syncParents makes the folders above key durable. That a folder is there does not say that it is on disk: another
// writer may have made it a moment ago.
func (l *local) syncParents(root Folder, key string) error {
	for _, dir := range parents(key) {
		if l.isDurable(dir) {
			continue
		}
		if err := l.syncDir(root, path.Dir(dir)); err != nil {
			return err
		}
		info, err := root.Lstat(dir)
		if err != nil {
			return err
		}
		l.remember(dir, info)
	}
	return nil
}

func (l *local) isDurable(dir string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.durable[dir]
	return ok
}

func (l *local) remember(dir string, info fs.FileInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.durable) >= maxDurable {
		clear(l.durable)
	}
	l.durable[dir] = info
}

func (l *local) forget(dir string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.durable, dir)
}

// forgetOther forgets a folder in whose place there is another one now, which somebody else has made and perhaps not synced.
func (l *local) forgetOther(dir string, now fs.FileInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if was, ok := l.durable[dir]; ok && !l.files.Same(was, now) {
		delete(l.durable, dir)
	}
}
