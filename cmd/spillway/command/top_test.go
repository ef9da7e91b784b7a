package command

import (
	"strings"
	"testing"
)

func TestTopNeedsTerminal(t *testing.T) {
	t.Parallel()
	r := invoke(t, []string{"top", "--sql-url", "postgres://127.0.0.1:1/x"})
	if r.code != exitUsage {
		t.Errorf("exit code %d", r.code)
	}
	mustContain(t, r.errOut, "top needs a terminal", "spillway jobs list")
	if r := invoke(t, []string{"top", "--refresh", "1ms"}); r.code != exitUsage || !strings.Contains(r.errOut, "expected 500ms or more") {
		t.Errorf("%d %s", r.code, r.errOut)
	}
}
