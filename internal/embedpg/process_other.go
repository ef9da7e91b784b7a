//go:build unix && !linux

package embedpg

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// attributes make the child run as the account, in a process group of its own: Ctrl-C in a terminal goes to us, and we
// stop the server in order. These systems cannot signal a child when its parent dies; the next Start stops it.
func (a account) attributes(syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a.other {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attr
}

// servesCluster reports whether the process is a PostgreSQL server of this cluster. The server's command line names it.
func servesCluster(pid int, pgdata string) bool {
	out, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), pgdata)
}
