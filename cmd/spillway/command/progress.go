package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/jobmanager"
)

// pollEvery is how often a waiting command looks at its job. A look costs the server about a millisecond.
const pollEvery = 200 * time.Millisecond

// follow looks at a job until it has ended, showing its progress on the way, and returns its last row.
func follow(ctx context.Context, c *client, id string, p *progress) (rowMap, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	defer p.done()
	for {
		rows, err := c.rows(ctx, "SHOW JOB "+literal(id))
		if err != nil {
			return nil, hint(err, "the job goes on by itself; look at it with `spillway jobs show '%s'`", id)
		}
		if len(rows) != 1 {
			return nil, fmt.Errorf("job %q: %d rows in the answer to SHOW JOB", id, len(rows))
		}
		p.show(rows[0])
		if jobmanager.Status(rows[0]["status"]).Terminal() {
			return rows[0], nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, hint(context.Cause(ctx), "the job goes on by itself; stop it with `spillway jobs kill '%s'`", id)
		}
	}
}

// waiter waits for the end of a job, shows its progress, and returns its last row.
type waiter func(ctx context.Context, c *client, id string, p *progress) (rowMap, error)

// whenComplete lets the front-end wait, and shows what it tells meanwhile.
func whenComplete(ctx context.Context, c *client, id string, p *progress) (rowMap, error) {
	before := c.onNotice
	c.onNotice = func(n *pgconn.Notice) { p.tell(n.Message) }
	defer func() { c.onNotice = before }()
	defer p.done()
	rows, err := c.rows(ctx, "SHOW JOB "+literal(id)+" WHEN COMPLETE")
	var refused *statementError
	switch {
	case ctx.Err() != nil:
		return nil, hint(context.Cause(ctx), "the job goes on by itself; stop it with `spillway jobs kill '%s'`", id)
	case errors.As(err, &refused):
		return nil, err
	case err != nil:
		return nil, hint(err, "the job goes on by itself; look at it with `spillway jobs show '%s'`", id)
	case len(rows) != 1:
		return nil, fmt.Errorf("job %q: %d rows in the answer to SHOW JOB", id, len(rows))
	}
	return rows[0], nil
}

// progress shows how far a job is: a bar that redraws itself at a terminal, elsewhere a line when something changed.
type progress struct {
	w       io.Writer
	bar     bool
	last    string
	pending bool // the bar's line has no end yet
}

func (p *progress) show(job rowMap) {
	line := progressLine(job)
	if p.bar {
		fmt.Fprintf(p.w, "\r\x1b[K%s %s", drawBar(share(job), 24), line)
		p.pending = true
		return
	}
	// Ten lines for a long job are enough in a log.
	mark := job["status"] + strconv.Itoa(int(share(job)*10))
	if mark != p.last {
		p.last = mark
		fmt.Fprintln(p.w, line)
	}
}

// tell shows a line of the server's own.
func (p *progress) tell(line string) {
	if p.bar {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
		p.pending = true
		return
	}
	fmt.Fprintln(p.w, line)
}

// done ends the bar's line.
func (p *progress) done() {
	if p.pending {
		fmt.Fprintln(p.w)
		p.pending = false
	}
}

func progressLine(job rowMap) string {
	line := fmt.Sprintf("%-10s %3.0f %%  %s", job["status"], share(job)*100, groups(job["rows_flushed"]))
	if total := job["rows_total"]; total != "" {
		line += " of " + groups(total)
	}
	segments := " segments, "
	if job["segments"] == "1" {
		segments = " segment, "
	}
	return line + " rows, " + groups(job["segments"]) + segments + bytesText(job["bytes_written"])
}

// share returns the done share of a job, 0 to 1.
func share(job rowMap) float64 {
	f, err := strconv.ParseFloat(job["progress"], 64)
	if err != nil {
		return 0
	}
	return min(1, max(0, f))
}

func drawBar(share float64, width int) string {
	full := int(share * float64(width))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}

// groups writes an integer with a space between thousands; other texts stay.
func groups(n string) string {
	if n == "" {
		return "0"
	}
	digits := strings.TrimPrefix(n, "-")
	if strings.Trim(digits, "0123456789") != "" {
		return n
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return n[:len(n)-len(strings.TrimPrefix(n, "-"))] + digits
}

// bytesText writes a number of bytes for people.
func bytesText(n string) string {
	v, err := strconv.ParseFloat(n, 64)
	if err != nil {
		return "0 B"
	}
	unit := 0
	units := []string{"B", "kB", "MB", "GB", "TB"}
	for v >= 1000 && unit < len(units)-1 {
		v /= 1000
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%.0f B", v)
	}
	return fmt.Sprintf("%.1f %s", v, units[unit])
}
