package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	sdk "go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
)

// Finding is one line of the doctor's report.
type Finding struct {
	Check  string
	Status string // ok, warn or fail
	Found  string
	Todo   string // "" if there is nothing to do
}

// What a Finding's status can be.
const (
	OK   = "ok"
	Warn = "warn"
	Fail = "fail"
)

// Options say what to look at, as `spillway up` and workers are told it, and what the doctor cannot know by itself.
type Options struct {
	DatabaseURL  string // "": that of a running `spillway up`
	LedgerSchema string
	SystemSchema string
	Storage      string // "": those of the ledger
	DataDir      string
	Retention    time.Duration // of jobs, where nobody chooses

	Temporal func() (sdk.Options, error)                    // where Temporal is, by flags and environment; no address: none is named
	Store    func() (*embedtemporal.PostgresOptions, error) // of an embedded Temporal; nil: not in PostgreSQL
	Hint     func(error) string                             // what to do about an error, or ""
}

// Examine looks at everything, for a minute at most, and says what it found.
func Examine(ctx context.Context, o *Options) []Finding {
	d := &doctor{o: o}
	d.examine(ctx)
	return d.findings
}

// doctor looks at everything and goes on after a failure, as far as what failed is not needed.
type doctor struct {
	o        *Options
	up       *datadir.Up // a running `spillway up`, or nil
	findings []Finding
}

func (d *doctor) ok(check, format string, args ...any) {
	d.findings = append(d.findings, Finding{Check: check, Status: OK, Found: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(check, todo, format string, args ...any) {
	d.findings = append(d.findings, Finding{Check: check, Status: Warn, Found: fmt.Sprintf(format, args...), Todo: todo})
}

func (d *doctor) fail(check, todo, format string, args ...any) {
	d.findings = append(d.findings, Finding{Check: check, Status: Fail, Found: fmt.Sprintf(format, args...), Todo: todo})
}

// failed reports an error with its hint.
func (d *doctor) failed(check string, err error) { d.fail(check, d.o.Hint(err), "%v", err) }

func (d *doctor) examine(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	d.examineUp(ctx)
	d.examineDatabase(ctx)
	d.examineTemporal(ctx)
	d.examineStore(ctx)
}

// examineUp looks for a running `spillway up` and asks its front-end.
func (d *doctor) examineUp(ctx context.Context) {
	up, err := datadir.FindUp(d.o.DataDir)
	if err != nil {
		var gone *fail.Unreachable
		if d.o.DatabaseURL == "" || (errors.As(err, &gone) && gone.Err != nil) {
			d.warn("spillway up", d.o.Hint(err), "%v", err)
		}
		return
	}
	d.up = up
	d.ok("spillway up", "process %d, version %s, since %s", up.PID, up.Version, up.StartedAt.Format(time.DateTime))
	c, err := sqlclient.Dial(ctx, up.SQLURL)
	if err != nil {
		d.failed("front-end", err)
		return
	}
	defer c.Close()
	view, err := c.View(ctx, "jobs")
	if err != nil {
		d.failed("front-end", err)
		return
	}
	rows, err := c.Rows(ctx, "SELECT count(*) AS live FROM "+view+" WHERE finished_at IS NULL")
	if err != nil {
		d.failed("front-end", err)
		return
	}
	d.ok("front-end", "answers; %s live jobs", rows[0]["live"])
}
