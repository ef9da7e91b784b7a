package embedpg

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// attributes make the child run as the account, in a process group of its own (Ctrl-C in a terminal goes to us, and we
// stop the server in order), and get sig when we die.
func (a account) attributes(sig syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: sig}
	if a.other {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attr
}

// servesCluster reports whether the process is a PostgreSQL server of this cluster: a server's working folder is its
// cluster. A zombie has none.
func servesCluster(pid int, pgdata string) bool {
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false
	}
	if real, err := filepath.EvalSymlinks(pgdata); err == nil {
		pgdata = real
	}
	return cwd == pgdata
}
