package command

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/show"
)

// version is set by the linker (see the Makefile).
var version = ""

// versionText returns the version that the linker or the go command recorded.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

func newVersion(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := newSink(cmd, env)
			if err := s.Begin([]show.Column{{Name: "spillway"}, {Name: "go"}, {Name: "platform"}, {Name: "commit"}, {Name: "built"}}); err != nil {
				return err
			}
			if err := s.Row([][]byte{[]byte(versionText()), []byte(runtime.Version()), []byte(runtime.GOOS + "/" + runtime.GOARCH), orNull(builtFrom()), orNull(builtAt())}); err != nil {
				return err
			}
			return s.End("")
		},
	}
}
