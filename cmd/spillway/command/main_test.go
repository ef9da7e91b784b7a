package command

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/cli/clitest"
)

// result is what one command line did.
type result struct {
	code        int
	out, errOut string
}

// invoke runs a command line in this process. Environment variables are "NAME=value".
func invoke(t *testing.T, args []string, environ ...string) result {
	t.Helper()
	return invokeWith(t.Context(), "", args, environ...)
}

func invokeWith(ctx context.Context, stdin string, args []string, environ ...string) result {
	var out, errOut bytes.Buffer
	env := testEnv(&out, &errOut, environ...)
	env.Stdin = strings.NewReader(stdin)
	code := Run(ctx, env, args)
	return result{code: code, out: out.String(), errOut: errOut.String()}
}

func testEnv(out, errOut *bytes.Buffer, environ ...string) *Env {
	vars := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		vars[name] = value
	}
	return &Env{
		Stdin: strings.NewReader(""), Stdout: out, Stderr: errOut,
		LookupEnv: func(name string) (string, bool) { v, ok := vars[name]; return v, ok },
		Environ:   func() []string { return environ },
	}
}

// mustContain fails unless text holds every part.
func mustContain(t *testing.T, text string, parts ...string) {
	t.Helper()
	clitest.Contains(t, text, parts...)
}
