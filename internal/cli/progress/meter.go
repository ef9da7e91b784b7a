package progress

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/term"

	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/jobmanager"
)

// Meter shows how far a job is: a bar that redraws itself at a terminal, elsewhere a line when something changed.
type Meter struct {
	W     io.Writer
	Bar   bool   // W is a terminal
	Label string // what stands before it: the table, where there are several jobs

	now     func() time.Time // nil: the clock
	last    string
	pending bool      // the bar's line has no end yet
	amount  show.Pace // rows, or what else the job counts
	share   show.Pace
}

// Show shows a row of system.jobs.
func (p *Meter) Show(job sqlclient.Row) {
	now := time.Now()
	if p.now != nil {
		now = p.now()
	}
	p.amount.Add(now, Number(job[UnitOf(job).Column]))
	p.share.Add(now, Share(job))
	line := p.Label + progressLine(job) + p.speed(job, now)
	if p.Bar {
		p.draw(Share(job), line)
		return
	}
	// Ten lines for a long job are enough in a log.
	mark := job["status"] + strconv.Itoa(int(Share(job)*10))
	if mark != p.last {
		p.last = mark
		fmt.Fprintln(p.W, line)
	}
}

// speed says how fast a running job goes, and how long it still takes.
func (p *Meter) speed(job sqlclient.Row, now time.Time) string {
	if job["status"] != string(jobmanager.Running) {
		return ""
	}
	text := ""
	if rate := UnitOf(job).Rate(p.amount.PerSecond(now)); rate != "" {
		text = ", " + rate
	}
	if d, ok := p.share.Left(now, 1); ok {
		text += ", " + show.Span(d) + " left"
	}
	return text
}

// draw puts the bar over the last one. A line that wraps could not be drawn over: what is too long for the terminal goes.
func (p *Meter) draw(share float64, line string) {
	text := show.Bar(share, 24) + " " + line
	if width := widthOf(p.W); width > 0 && show.Width(text) >= width {
		text = show.Clip(show.Bar(share, 8)+" "+line, width-1)
	}
	fmt.Fprintf(p.W, "\r\x1b[K%s", text)
	p.pending = true
}

// widthOf is the width of the terminal behind w; 0: there is none.
func widthOf(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return width
		}
	}
	return 0
}

// tell shows a line of the server's own.
func (p *Meter) tell(line string) { fmt.Fprintln(p.W, line) }

// Done ends the bar's line.
func (p *Meter) Done() {
	if p.pending {
		fmt.Fprintln(p.W)
		p.pending = false
	}
}
