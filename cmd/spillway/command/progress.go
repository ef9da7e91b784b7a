package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/term"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/jobmanager"
)

// pollEvery is how often a waiting command looks at its job. A look costs the server about a millisecond.
const pollEvery = 200 * time.Millisecond

// follow looks at a job until it has ended, showing its progress on the way, and returns its last row.
func follow(ctx context.Context, c *sqlclient.Client, id string, p *progress) (sqlclient.Row, error) {
	segments := ""
	if jobType(sqlclient.Row{"job_id": id}) == "verify" {
		segments = segmentsOf(ctx, c, id)
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	defer p.done()
	for {
		rows, err := c.Rows(ctx, "SHOW JOB "+sqlclient.Literal(id))
		if err != nil {
			return nil, fail.Hint(err, "the job goes on by itself; look at it with `spillway jobs show '%s'`", id)
		}
		if len(rows) != 1 {
			return nil, fmt.Errorf("job %q: %d rows in the answer to SHOW JOB", id, len(rows))
		}
		countSegments(rows[0], segments)
		p.show(rows[0])
		if jobmanager.Status(rows[0]["status"]).Terminal() {
			return rows[0], nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fail.Hint(context.Cause(ctx), "the job goes on by itself; stop it with `spillway jobs kill '%s'`", id)
		}
	}
}

// waiter waits for the end of a job, shows its progress, and returns its last row.
type waiter func(ctx context.Context, c *sqlclient.Client, id string, p *progress) (sqlclient.Row, error)

// whenComplete lets the front-end wait, and shows what it tells meanwhile.
func whenComplete(ctx context.Context, c *sqlclient.Client, id string, p *progress) (sqlclient.Row, error) {
	before := c.OnNotice
	c.OnNotice = func(n *pgconn.Notice) { p.tell(n.Message) }
	defer func() { c.OnNotice = before }()
	defer p.done()
	rows, err := c.Rows(ctx, "SHOW JOB "+sqlclient.Literal(id)+" WHEN COMPLETE")
	var refused *sqlclient.StatementError
	switch {
	case ctx.Err() != nil:
		return nil, fail.Hint(context.Cause(ctx), "the job goes on by itself; stop it with `spillway jobs kill '%s'`", id)
	case errors.As(err, &refused):
		return nil, err
	case err != nil:
		return nil, fail.Hint(err, "the job goes on by itself; look at it with `spillway jobs show '%s'`", id)
	case len(rows) != 1:
		return nil, fmt.Errorf("job %q: %d rows in the answer to SHOW JOB", id, len(rows))
	}
	return rows[0], nil
}

// progress shows how far a job is: a bar that redraws itself at a terminal, elsewhere a line when something changed.
type progress struct {
	w       io.Writer
	bar     bool
	label   string           // what stands before it: the table, where there are several jobs
	now     func() time.Time // nil: the clock
	last    string
	pending bool      // the bar's line has no end yet
	amount  show.Pace // rows, or what else the job counts
	share   show.Pace
}

func (p *progress) show(job sqlclient.Row) {
	now := time.Now()
	if p.now != nil {
		now = p.now()
	}
	p.amount.Add(now, float(job[unitOf(job).column]))
	p.share.Add(now, share(job))
	line := p.label + progressLine(job) + p.speed(job, now)
	if p.bar {
		p.draw(share(job), line)
		return
	}
	// Ten lines for a long job are enough in a log.
	mark := job["status"] + strconv.Itoa(int(share(job)*10))
	if mark != p.last {
		p.last = mark
		fmt.Fprintln(p.w, line)
	}
}

// speed says how fast a running job goes, and how long it still takes.
func (p *progress) speed(job sqlclient.Row, now time.Time) string {
	if job["status"] != string(jobmanager.Running) {
		return ""
	}
	text := ""
	if rate := unitOf(job).rate(p.amount.PerSecond(now)); rate != "" {
		text = ", " + rate
	}
	if d, ok := p.share.Left(now, 1); ok {
		text += ", " + show.Span(d) + " left"
	}
	return text
}

// draw puts the bar over the last one. A line that wraps could not be drawn over: what is too long for the terminal goes.
func (p *progress) draw(share float64, line string) {
	text := show.Bar(share, 24) + " " + line
	if width := widthOf(p.w); width > 0 && show.Width(text) >= width {
		text = show.Clip(show.Bar(share, 8)+" "+line, width-1)
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", text)
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
func (p *progress) tell(line string) { fmt.Fprintln(p.w, line) }

// done ends the bar's line.
func (p *progress) done() {
	if p.pending {
		fmt.Fprintln(p.w)
		p.pending = false
	}
}

// unit is what a job counts.
type unit struct {
	column    string // of system.jobs
	total     string // the column of how many there will be
	one, many string
}

// unitOf goes by the type of the job: a verification moves no row, and a clean-up has no segments.
func unitOf(job sqlclient.Row) unit {
	switch jobType(job) {
	case "verify":
		if job["segments_total"] != "" {
			return unit{column: "segments_done", total: "segments_total", one: "segment", many: "segments"}
		}
		return unit{column: "chunks_done", total: "chunks_total", one: "group", many: "groups"}
	case "cleanup":
		return unit{column: "chunks_done", total: "chunks_total", one: "group", many: "groups"}
	}
	return unit{column: "rows_flushed", total: "rows_total", one: "row", many: "rows"}
}

// countSegments tells of a verification in segments. It reads them in groups of about the same size, so of one that runs the
// number is an estimate.
func countSegments(job sqlclient.Row, total string) {
	if n := float(total); n > 0 && jobType(job) == "verify" {
		job["segments_total"] = total
		job["segments_done"] = strconv.Itoa(int(share(job) * n))
	}
}

// segmentsOf asks how many segments the table of a job has; "": not known. It is for people to look at, and no error.
func segmentsOf(ctx context.Context, c *sqlclient.Client, id string) string {
	jobs, err := c.View(ctx, "jobs")
	if err != nil {
		return ""
	}
	tables, err := c.View(ctx, "tables")
	if err != nil {
		return ""
	}
	rows, err := c.Rows(ctx, "SELECT t.segments FROM "+jobs+" AS j JOIN "+tables+" AS t ON t.table_schema || '.' || t.table_name = j.target WHERE j.job_id = "+sqlclient.Literal(id))
	if err != nil || len(rows) != 1 {
		return ""
	}
	return rows[0]["segments"]
}

// jobType is what stands first in a job's id.
func jobType(job sqlclient.Row) string {
	typ, _, _ := strings.Cut(job["job_id"], ":")
	return typ
}

// rate writes so many in a second; "": none.
func (u unit) rate(perSecond float64) string {
	switch {
	case perSecond <= 0:
		return ""
	case perSecond < 10:
		return strconv.FormatFloat(perSecond, 'f', 1, 64) + " " + u.many + "/s"
	}
	return show.Groups(strconv.FormatFloat(perSecond, 'f', 0, 64)) + " " + u.many + "/s"
}

// doneText is how much a job has done of what it counts.
func doneText(job sqlclient.Row) string {
	u := unitOf(job)
	if total := job[u.total]; total != "" && total != "0" {
		return show.Groups(job[u.column]) + " of " + show.Groups(total) + " " + u.many
	}
	if job[u.column] == "1" && u.one != "row" {
		return "1 " + u.one
	}
	return show.Groups(job[u.column]) + " " + u.many
}

func progressLine(job sqlclient.Row) string {
	line := fmt.Sprintf("%-10s %3.0f %%  %s", job["status"], share(job)*100, doneText(job))
	switch jobType(job) {
	case "cleanup":
		return line
	case "verify":
		return line + " read"
	}
	segments := " segments, "
	if job["segments"] == "1" {
		segments = " segment, "
	}
	return line + ", " + show.Groups(job["segments"]) + segments + show.Bytes(job["bytes_written"])
}

// share returns the done share of a job, 0 to 1.
func share(job sqlclient.Row) float64 {
	f, err := strconv.ParseFloat(job["progress"], 64)
	if err != nil {
		return 0
	}
	return min(1, max(0, f))
}
