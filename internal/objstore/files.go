package objstore

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// Files is what a local store asks of the operating system. Paths are absolute.
type Files interface {
	Mkdir(dir string) error
	Stat(path string) (fs.FileInfo, error)
	SyncDir(dir string) error // makes the entries of a folder durable
	Root(dir string) (Folder, error)
	Same(a, b fs.FileInfo) bool // the same file or folder, whatever its name
}

// Folder is an open folder. Names are relative to it and do not lead out of it. Whoever opened it works there, whatever has become of
// its path.
type Folder interface {
	Mkdir(name string, mode fs.FileMode) error
	Open(name string) (File, error)
	OpenFile(name string, flag int, mode fs.FileMode) (File, error)
	Stat(name string) (fs.FileInfo, error)
	Lstat(name string) (fs.FileInfo, error)
	Link(from, to string) error
	Rename(from, to string) error
	Remove(name string) error
	Close() error
}

// File is an open file or folder.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Sync() error
	Stat() (fs.FileInfo, error)
	ReadDir(n int) ([]fs.DirEntry, error)
}

// OS is the operating system's files.
type OS struct{}

var _ Files = OS{}

// Mkdir makes a folder.
func (OS) Mkdir(dir string) error { return os.Mkdir(dir, dirMode) }

// Stat describes a file.
func (OS) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

// Same compares by the system's number of the file.
func (OS) Same(a, b fs.FileInfo) bool { return os.SameFile(a, b) }

// SyncDir syncs a folder.
func (OS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Root opens a folder.
func (OS) Root(dir string) (Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return osFolder{root}, nil
}

// osFolder gives os.Root's files as the interface.
type osFolder struct{ *os.Root }

func (r osFolder) Open(name string) (File, error) { return asFile(r.Root.Open(name)) }

func (r osFolder) OpenFile(name string, flag int, mode fs.FileMode) (File, error) {
	return asFile(r.Root.OpenFile(name, flag, mode))
}

func asFile(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}
