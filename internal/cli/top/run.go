package top

import (
	"context"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

// Options say whom to ask, where to draw, and how often.
type Options struct {
	Dial    func(context.Context) (*sqlclient.Client, error)
	Refresh time.Duration // from an answer to the next look
	All     bool          // show jobs that ended in the last hour from the start
	In      io.Reader     // the keys
	Out     io.Writer     // a terminal
	Environ []string
	Hint    func(error) string // what to do about an error, or ""
}

// Run shows the screen until the person leaves it or ctx ends.
func Run(ctx context.Context, o *Options) error {
	feed := newFeed(o.Dial)
	defer feed.close()
	// The first look is before the screen is taken: an address that is wrong must be an error that stays to be read.
	if _, err := feed.jobs(ctx); err != nil {
		return err
	}
	looks, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newModel(looks, feed, time.Now, o)
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithEnvironment(o.Environ),
		tea.WithoutSignalHandler()).Run()
	if fail.Interrupted(ctx) { // SIGTERM; Ctrl-C is a key here
		return fail.ErrInterrupted
	}
	return err
}
