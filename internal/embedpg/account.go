package embedpg

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is who runs the server. The zero value means: whoever we are.
type account struct {
	name     string
	uid, gid uint32
	other    bool // not ourselves: change to it
}

// pickAccount chooses who runs the server: ourselves, or under root the owner of the cluster that is there, or else a
// system account without rights.
func pickAccount(pgdata string) (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	if owner, ok := ownerOf(pgdata); ok && owner.uid != 0 {
		return owner, nil
	}
	for _, name := range [...]string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("account %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("account %s: %w", name, err)
		}
		return account{name: name, uid: uint32(uid), gid: uint32(gid), other: true}, nil
	}
	return account{}, errNoAccount
}

func ownerOf(path string) (account, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return account{}, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return account{}, false
	}
	a := account{name: strconv.FormatUint(uint64(st.Uid), 10), uid: st.Uid, gid: st.Gid, other: true}
	if u, err := user.LookupId(a.name); err == nil {
		a.name = u.Username
	}
	return a, true
}

// give makes the account the owner of path.
func (a account) give(path string) error {
	if !a.other {
		return nil
	}
	if err := os.Lchown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give to %s: %w", a.name, err)
	}
	return nil
}

// canReach reports whether the account may enter every folder above dir; if not, the error is *UnreachableError. Under
// root it is easy to give the server a folder below one that only root may enter, such as /root or a test's own.
func (a account) canReach(dir string) error {
	if !a.other {
		return nil
	}
	var parents []string
	for p := filepath.Dir(dir); ; p = filepath.Dir(p) {
		parents = append(parents, p)
		if p == filepath.Dir(p) {
			break
		}
	}
	for i := len(parents) - 1; i >= 0; i-- { // from the root down: name the first that blocks
		info, err := os.Stat(parents[i])
		if os.IsNotExist(err) {
			return nil // it will be made, and made so that others may enter
		}
		if err != nil {
			return err
		}
		if !a.mayEnter(info) {
			return &UnreachableError{Dir: dir, Blocked: parents[i], Account: a.name}
		}
	}
	return nil
}

func (a account) mayEnter(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	mode := info.Mode().Perm()
	switch {
	case st.Uid == a.uid:
		return mode&0o100 != 0
	case st.Gid == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}
