package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

// finding is one line of the doctor's report.
type finding struct {
	check  string
	status string // ok, warn or fail
	found  string
	todo   string // "" if there is nothing to do
}

const (
	findingOK   = "ok"
	findingWarn = "warn"
	findingFail = "fail"
)

func newDoctor(env *Env) *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check database, storage, Temporal and clocks, and say what to do",
		Long: `Check what spillway needs: the database and the worker's rights in it, the ledger, the registered tables, the storage (by writing,
reading and deleting an object), Temporal, clocks. Give it the flags that you give to up or worker. It changes nothing. Exit code 1 if a
check fails.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd, env, &o) },
	}
	o.databaseFlags(cmd, " (default: only a running 'spillway up' is looked at)")
	o.dataDirFlag(cmd)
	o.storageFlag(cmd)
	o.temporalFlags(cmd, " (default: that of a running 'spillway up')")
	o.temporalStoreFlags(cmd)
	return cmd
}

func runDoctor(cmd *cobra.Command, env *Env, o *serverOptions) error {
	d := &doctor{env: env, opt: o}
	d.examine(cmd.Context())
	s := newSink(cmd, env)
	if err := s.Begin([]show.Column{{Name: "check"}, {Name: "status"}, {Name: "found"}, {Name: "what_to_do"}}); err != nil {
		return err
	}
	failed := 0
	for _, f := range d.findings {
		if f.status == findingFail {
			failed++
		}
		if err := s.Row([][]byte{[]byte(f.check), []byte(f.status), []byte(f.found), []byte(f.todo)}); err != nil {
			return err
		}
	}
	if err := s.End(""); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(d.findings))
	}
	return nil
}

// doctor looks at everything and goes on after a failure, as far as what failed is not needed.
type doctor struct {
	env      *Env
	opt      *serverOptions
	up       *datadir.Up // a running `spillway up`, or nil
	findings []finding
}

func (d *doctor) ok(check, format string, args ...any) {
	d.findings = append(d.findings, finding{check: check, status: findingOK, found: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(check, todo, format string, args ...any) {
	d.findings = append(d.findings, finding{check: check, status: findingWarn, found: fmt.Sprintf(format, args...), todo: todo})
}

func (d *doctor) fail(check, todo, format string, args ...any) {
	d.findings = append(d.findings, finding{check: check, status: findingFail, found: fmt.Sprintf(format, args...), todo: todo})
}

// failed reports an error with its hint.
func (d *doctor) failed(check string, err error) { d.fail(check, hintOf(err), "%v", err) }

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
	up, err := datadir.FindUp(d.opt.dataDir)
	if err != nil {
		var gone *fail.Unreachable
		if d.opt.databaseURL == "" || (errors.As(err, &gone) && gone.Err != nil) {
			d.warn("spillway up", hintOf(err), "%v", err)
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
