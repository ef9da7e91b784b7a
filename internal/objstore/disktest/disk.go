package disktest

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spillwaydb/spillway/internal/objstore"
)

// ErrNoPower is returned by every call after the power was cut.
var ErrNoPower = errors.New("the power is cut")

// Disk is a disk with one tree of folders.
type Disk struct {
	mu   sync.Mutex
	root *inode
	ops  int
	cut  int // the call that finds no power; 0: it stays on
	fail func(op, name string) error
}

var _ objstore.Files = (*Disk)(nil)

// inode is a file or a folder. What is durable is what the last sync of it said.
type inode struct {
	dir     bool
	changed time.Time
	data    []byte
	durable []byte
	entries map[string]*inode
	synced  map[string]*inode
	past    map[string][]*inode // what a name has been since the last sync; nil: nothing
}

// New makes an empty disk.
func New() *Disk { return &Disk{root: newFolder()} }

func newFolder() *inode {
	return &inode{dir: true, entries: map[string]*inode{}, synced: map[string]*inode{}, past: map[string][]*inode{}}
}

// CutAt lets n more calls through and cuts the power then.
func (d *Disk) CutAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = d.ops + n + 1
}

// Fail asks before each call whether it fails, and how. op is "sync", "write", "link", "open" and so on.
func (d *Disk) Fail(ask func(op, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = ask
}

// call counts a call and says whether it fails. The lock is held.
func (d *Disk) call(op, name string) error {
	d.ops++
	if d.cut > 0 && d.ops >= d.cut {
		return ErrNoPower
	}
	if d.fail != nil {
		if err := d.fail(op, name); err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
	}
	return nil
}

// Crash is the disk as it may be found after the power was cut, now: everything synced, and of the rest what r keeps.
func (d *Disk) Crash(r *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &Disk{root: d.root.survive(r, map[*inode]*inode{})}
}

func (n *inode) survive(r *rand.Rand, done map[*inode]*inode) *inode {
	if s := done[n]; s != nil { // a file of two names
		return s
	}
	if !n.dir {
		kept := n.keepData(r)
		s := &inode{changed: n.changed, data: kept, durable: bytes.Clone(kept)}
		done[n] = s
		return s
	}
	s := newFolder()
	done[n] = s
	names := maps.Clone(n.synced)
	for name, was := range n.past { // each name goes its own way
		states := append([]*inode{n.synced[name]}, was...)
		names[name] = states[r.IntN(len(states))]
	}
	for name, child := range names {
		if child != nil {
			kept := child.survive(r, done)
			s.entries[name], s.synced[name] = kept, kept
		}
	}
	return s
}

// keepData is the content of a file after a crash. Its length and each of its pages are the new or the old ones, and a page that the
// file system had allocated and not written is zero.
func (n *inode) keepData(r *rand.Rand) []byte {
	if bytes.Equal(n.data, n.durable) {
		return bytes.Clone(n.durable)
	}
	out := make([]byte, len(n.durable))
	if len(n.data) != len(n.durable) && r.IntN(2) == 0 {
		lo, hi := min(len(n.data), len(n.durable)), max(len(n.data), len(n.durable))
		out = make([]byte, lo+r.IntN(hi-lo+1))
	}
	copy(out, n.durable)
	const page = 512
	for at := 0; at < len(out) && at < len(n.data); at += page {
		if r.IntN(2) == 0 {
			copy(out[at:min(at+page, len(out))], n.data[at:])
		}
	}
	return out
}

func (n *inode) set(name string, child *inode) {
	if child == nil {
		delete(n.entries, name)
	} else {
		n.entries[name] = child
	}
	n.past[name] = append(n.past[name], child)
}

func (n *inode) sync() {
	n.durable = bytes.Clone(n.data)
	if n.dir {
		n.synced, n.past = maps.Clone(n.entries), map[string][]*inode{}
	}
}

// walk finds what a path below from means.
func (n *inode) walk(name string) (*inode, error) {
	at := n
	for part := range strings.SplitSeq(strings.Trim(path.Clean(name), "/"), "/") {
		if part == "." || part == "" {
			continue
		}
		if !at.dir {
			return nil, syscall.ENOTDIR
		}
		next := at.entries[part]
		if next == nil {
			return nil, fs.ErrNotExist
		}
		at = next
	}
	return at, nil
}

// above finds the folder that holds a name, and the name's last part.
func (n *inode) above(name string) (*inode, string, error) {
	dir, base := path.Split(path.Clean(name))
	at, err := n.walk(dir)
	if err == nil && !at.dir {
		err = syscall.ENOTDIR
	}
	return at, base, err
}

// Export writes the files of the disk under dir to where the operating system has that path, for readers that know nothing of the disk.
func (d *Disk) Export(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.root.walk(dir)
	if err != nil {
		return err
	}
	return n.export(dir)
}

func (n *inode) export(to string) error {
	if !n.dir {
		return os.WriteFile(to, n.data, 0o600)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for name, child := range n.entries {
		if err := child.export(path.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}
