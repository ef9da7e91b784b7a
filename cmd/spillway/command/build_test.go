package command

import (
	"strings"
	"testing"
)

func TestVersionColumns(t *testing.T) {
	t.Parallel()
	r := invoke(t, []string{"version", "-o", "csv"})
	if r.code != 0 || !strings.HasPrefix(r.out, "spillway,go,platform,commit,built\n") {
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.errOut)
	}
	if got := linked("told", "vcs.revision"); got != "told" {
		t.Errorf("what the linker was told is lost: %q", got)
	}
	if orNull("") != nil {
		t.Error("what is not known must be NULL")
	}
}
