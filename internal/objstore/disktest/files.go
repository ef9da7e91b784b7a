package disktest

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	"github.com/spillwaydb/spillway/internal/objstore"
)

// do runs one call under the lock, with the errors that the disk was told to give.
func (d *Disk) do(op, name string, work func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call(op, name); err != nil {
		return err
	}
	if err := work(); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

// Mkdir makes a folder.
func (d *Disk) Mkdir(dir string) error { return (&folder{d, d.root}).Mkdir(dir, 0) }

// Stat describes a file.
func (d *Disk) Stat(name string) (fs.FileInfo, error) { return (&folder{d, d.root}).Stat(name) }

// SyncDir syncs a folder.
func (d *Disk) SyncDir(dir string) error {
	return d.do("sync", dir, func() error {
		n, err := d.root.walk(dir)
		if err == nil {
			n.sync()
		}
		return err
	})
}

// Root opens a folder.
func (d *Disk) Root(dir string) (objstore.Folder, error) {
	f := &folder{disk: d}
	err := d.do("open", dir, func() (err error) {
		f.at, err = d.root.walk(dir)
		return err
	})
	return f, err
}

// Same compares inodes.
func (*Disk) Same(a, b fs.FileInfo) bool { return a.(info).inode == b.(info).inode }

type folder struct {
	disk *Disk
	at   *inode
}

func (f *folder) Close() error { return nil }

func (f *folder) Mkdir(name string, _ fs.FileMode) error {
	return f.disk.do("mkdir", name, func() error {
		above, base, err := f.at.above(name)
		if err == nil && above.entries[base] != nil {
			err = fs.ErrExist
		}
		if err == nil {
			above.set(base, newFolder())
		}
		return err
	})
}

func (f *folder) Open(name string) (objstore.File, error) { return f.OpenFile(name, 0, 0) }

func (f *folder) OpenFile(name string, flag int, _ fs.FileMode) (objstore.File, error) {
	out := &file{disk: f.disk, name: name}
	op := "open"
	if flag&os.O_CREATE != 0 {
		op = "create"
	}
	err := f.disk.do(op, name, func() (err error) {
		if flag&os.O_CREATE == 0 {
			out.inode, err = f.at.walk(name)
			return err
		}
		above, base, err := f.at.above(name)
		if err == nil && above.entries[base] != nil {
			err = fs.ErrExist
		}
		if err == nil {
			out.inode = &inode{changed: time.Now()}
			above.set(base, out.inode)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (f *folder) Stat(name string) (i fs.FileInfo, err error) {
	err = f.disk.do("stat", name, func() error {
		n, err := f.at.walk(name)
		if err == nil {
			i = describe(path.Base(name), n)
		}
		return err
	})
	return i, err
}

func (f *folder) Lstat(name string) (fs.FileInfo, error) { return f.Stat(name) }

func (f *folder) Link(from, to string) error {
	return f.disk.do("link", to, func() error {
		n, err := f.at.walk(from)
		if err != nil {
			return err
		}
		above, base, err := f.at.above(to)
		if err == nil && above.entries[base] != nil {
			err = fs.ErrExist
		}
		if err == nil {
			above.set(base, n)
		}
		return err
	})
}

func (f *folder) Rename(from, to string) error {
	return f.disk.do("rename", to, func() error {
		n, err := f.at.walk(from)
		if err != nil {
			return err
		}
		above, base, err := f.at.above(to)
		if err != nil {
			return err
		}
		above.set(base, n)
		above, base, err = f.at.above(from)
		if err == nil {
			above.set(base, nil)
		}
		return err
	})
}

func (f *folder) Remove(name string) error {
	return f.disk.do("remove", name, func() error {
		above, base, err := f.at.above(name)
		if err == nil && above.entries[base] == nil {
			err = fs.ErrNotExist
		}
		if err == nil {
			above.set(base, nil)
		}
		return err
	})
}

type file struct {
	disk  *Disk
	inode *inode
	name  string
	read  []string // of a folder, from the first ReadDir on
}

func (f *file) Write(p []byte) (int, error) {
	err := f.disk.do("write", f.name, func() error {
		f.inode.data, f.inode.changed = append(f.inode.data, p...), time.Now()
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *file) ReadAt(p []byte, at int64) (n int, err error) {
	err = f.disk.do("read", f.name, func() error {
		if at < int64(len(f.inode.data)) {
			n = copy(p, f.inode.data[at:])
		}
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (f *file) Sync() error {
	return f.disk.do("sync", f.name, func() error { f.inode.sync(); return nil })
}

func (f *file) Close() error { return f.disk.do("close", f.name, func() error { return nil }) }

func (f *file) Stat() (i fs.FileInfo, err error) {
	err = f.disk.do("stat", f.name, func() error { i = describe(path.Base(f.name), f.inode); return nil })
	return i, err
}

func (f *file) ReadDir(n int) (out []fs.DirEntry, err error) {
	err = f.disk.do("read", f.name, func() error {
		if f.read == nil {
			f.read = append([]string{}, slices.Sorted(maps.Keys(f.inode.entries))...)
		}
		for n > 0 && len(f.read) > 0 {
			if child := f.inode.entries[f.read[0]]; child != nil {
				out = append(out, fs.FileInfoToDirEntry(describe(f.read[0], child)))
				n--
			}
			f.read = f.read[1:]
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = io.EOF
	}
	return out, err
}

type info struct {
	name  string
	inode *inode
	size  int64
	at    time.Time
}

func describe(name string, n *inode) fs.FileInfo { return info{name, n, int64(len(n.data)), n.changed} }

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.at }
func (i info) IsDir() bool        { return i.inode.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.inode.dir {
		return fs.ModeDir | 0o750
	}
	return 0o640
}
