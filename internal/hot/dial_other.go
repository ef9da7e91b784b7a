//go:build !linux

package hot

import "syscall"

// setUserTimeout does nothing here: only Linux has the option, and keepalives must do.
func setUserTimeout(string, string, syscall.RawConn) error { return nil }
