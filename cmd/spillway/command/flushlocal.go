package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/grants"
	"github.com/spillwaydb/spillway/internal/cli/progress"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/localjobs"
	"github.com/spillwaydb/spillway/sqlfront"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// localOptions are the settings of a flush that runs in its own process.
type localOptions struct {
	serverOptions
	takeOver bool
}

func (o *localOptions) flags(cmd *cobra.Command) {
	o.databaseFlags(cmd, ", for --local")
	o.storageFlag(cmd)
	o.workerFlags(cmd)
	f := cmd.Flags()
	f.IntVar(&o.attempts, "attempts", jobstep.DefaultAttempts, "with --local: how often a step is tried before the job fails")
	f.BoolVar(&o.takeOver, "take-over", false, "with --local: take the table from a job whose Temporal is gone for good")
	f.StringVar(&o.logLevel, "log-level", "warn", "with --local: debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "with --local: text or json")
}

// localFlush is a flush that runs in this process.
type localFlush struct {
	*node
	cmd     *cobra.Command
	flusher *flush.Flusher
	jobs    *localjobs.Manager
}

// runLocal runs a FLUSH TABLE in this process, without Temporal, and waits for its end.
func runLocal(cmd *cobra.Command, env *Env, o *localOptions, statement string) error {
	if o.databaseURL == "" {
		return &fail.Usage{Msg: "flush --local: --database-url is missing", Todo: "the form is postgres://spillway@host:5432/database"}
	}
	o.retention = defaultRetention  // it forgets nothing
	o.shutdownTimeout = time.Minute // of a server's stop; a flush that was cancelled takes the time it takes
	n, err := newNode(env, &o.serverOptions)
	if err != nil {
		return err
	}
	l := &localFlush{node: n, cmd: cmd}
	defer l.abandon(cmd.Context())
	spec, err := l.open(cmd.Context(), o, statement)
	if err != nil {
		return err
	}
	started, err := l.jobs.StartJob(cmd.Context(), spec)
	if err != nil {
		return startError(err)
	}
	if started.Existing {
		fmt.Fprintf(env.Stderr, "job %s is at it already, in another process; waiting for it\n", started.ID)
	}
	info, err := l.follow(cmd.Context(), started)
	if err != nil {
		return err
	}
	return l.result(cmd.Context(), info)
}

// open connects, reads the statement, and makes ready to run it.
func (l *localFlush) open(ctx context.Context, o *localOptions, statement string) (spec jobmanager.JobSpec, err error) {
	if err := l.openDatabase(ctx); err != nil {
		return spec, err
	}
	if err := l.openStorage(ctx); err != nil {
		return spec, err
	}
	if spec, err = l.read(ctx, statement); err != nil {
		return spec, err
	}
	if err := l.settleStorage(ctx); err != nil {
		return spec, err
	}
	if l.flusher, err = flush.New(flush.Deps{Hot: l.db, Ledger: l.ledger, Stores: l.stores, Log: l.log}); err != nil {
		return spec, err
	}
	closed, err := l.flusher.CloseInterrupted(ctx)
	for _, id := range closed {
		fmt.Fprintf(l.env.Stderr, "job %s was cut off with its process, and is closed as failed\n", id)
	}
	if err != nil {
		return spec, err
	}
	l.jobs, err = localjobs.New(l.flusher, l.ledger, &localjobs.Options{
		Slots: l.opt.slots, Attempts: l.opt.attempts, TakeOver: o.takeOver, Validate: validateFlush, Logger: l.log,
	})
	if err == nil {
		l.started("local jobs", l.jobs.Stop)
	}
	return spec, err
}

// read lets PostgreSQL read the statement on a connection of its own, under the settings that psql would have.
func (l *localFlush) read(ctx context.Context, statement string) (jobmanager.JobSpec, error) {
	conn, err := pgconn.Connect(ctx, l.databaseURL)
	if err != nil {
		return jobmanager.JobSpec{}, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // a goodbye; nothing is lost with it
	}()
	spec, err := sqlfront.ReadFlush(ctx, pgwire.Direct(conn), statement, &sqlfront.Options{
		SystemSchema: l.opt.systemSchema, LedgerSchema: l.opt.ledgerSchema, Operator: grants.Operator,
	})
	var e *pgwire.Error
	if errors.As(err, &e) {
		return spec, &sqlclient.StatementError{Statement: statement, Err: &pgconn.PgError{
			Severity: e.Severity, Code: e.Code, Message: e.Message, Detail: e.Detail, Hint: e.Hint, Position: int32(e.Position),
		}}
	}
	return spec, err
}

// startError says what to do about a job that could not start.
func startError(err error) error {
	var busy *jobmanager.BusyError
	var spec *jobmanager.SpecError
	switch {
	case errors.As(err, &spec):
		return fail.Hint(err, "%s", spec.Hint)
	case !errors.As(err, &busy):
		return err
	case busy.Manager == "":
		return fail.Hint(err, "wait for it, or stop the process that runs it")
	}
	return fail.Hint(err, "wait for it, or stop it through its front-end: KILL JOB '%s'; if its Temporal is gone for good, --take-over takes the table from it", busy.Running)
}

// follow shows the progress of a job until it has ended. An interrupt cancels the job once, if it is ours, and its end is
// waited for: the second one ends the process.
func (l *localFlush) follow(ctx context.Context, s jobmanager.Started) (jobmanager.JobInfo, error) {
	quiet := context.WithoutCancel(ctx)
	type end struct {
		info jobmanager.JobInfo
		err  error
	}
	ended := make(chan end, 1)
	waitCtx, cancel := context.WithCancel(quiet)
	defer cancel()
	go func() {
		info, err := l.jobs.WaitJob(waitCtx, s.ID)
		ended <- end{info, err}
	}()
	p := &progress.Meter{W: l.env.Stderr, Bar: l.env.Bar}
	defer p.Done()
	tick := time.NewTicker(progress.PollEvery)
	defer tick.Stop()
	interrupted := ctx.Done()
	for {
		select {
		case e := <-ended:
			if e.err == nil {
				p.Show(jobRowMap(e.info))
			}
			return e.info, e.err
		case <-tick.C:
			if info, err := l.jobs.JobStatus(quiet, s.ID); err == nil && !info.Status.Terminal() { // WaitJob tells of errors
				p.Show(jobRowMap(info))
			}
		case <-interrupted:
			if s.Existing {
				return jobmanager.JobInfo{}, fail.Hint(context.Cause(ctx), "the job goes on in its own process")
			}
			interrupted = nil
			p.Done()
			fmt.Fprintln(l.env.Stderr, "cancelling: rows that were moved stay cold; press Ctrl-C again to end at once")
			var fin *jobmanager.FinishedError
			if err := l.jobs.CancelJob(quiet, s.ID); err != nil && !errors.As(err, &fin) {
				return jobmanager.JobInfo{}, err
			}
		}
	}
}

// result prints a job that has ended, and returns the error that the command ends with.
func (l *localFlush) result(ctx context.Context, info jobmanager.JobInfo) error {
	row := jobRowMap(info)
	s := newSink(l.cmd, l.env)
	cols, values := make([]show.Column, len(jobColumns)), make([][]byte, len(jobColumns))
	for i, name := range jobColumns {
		cols[i] = show.Column{Name: name, OID: jobColumnTypes[name]}
		if v, ok := row[name]; ok {
			values[i] = []byte(v)
		}
	}
	if err := errors.Join(s.Begin(cols), s.Row(values), s.End("SELECT 1")); err != nil {
		return err
	}
	switch {
	case info.Status == jobmanager.Completed:
		return nil
	case info.Status == jobmanager.Cancelled && fail.Interrupted(ctx):
		return fail.Hint(context.Cause(ctx), "rows that were not moved are still in the table; the next flush takes them")
	}
	return jobError(row)
}

// jobColumnTypes are the types of those of jobColumns that are no text.
var jobColumnTypes = map[string]uint32{
	"progress": pgtype.Float8OID, "rows_flushed": pgtype.Int8OID, "segments": pgtype.Int8OID, "bytes_written": pgtype.Int8OID,
}

// jobRowMap is a job as a row of system.jobs; what is not known is missing.
func jobRowMap(j jobmanager.JobInfo) sqlclient.Row {
	r := sqlclient.Row{
		"job_id": j.ID.String(), "status": string(j.Status), "progress": strconv.FormatFloat(j.Progress(), 'f', -1, 64),
		"rows_flushed": strconv.FormatInt(j.RowsFlushed, 10), "segments": strconv.FormatInt(j.Segments, 10),
		"bytes_written": strconv.FormatInt(j.BytesWritten, 10), "created_at": timeText(j.CreatedAt),
	}
	if j.RowsTotal != nil {
		r["rows_total"] = strconv.FormatInt(*j.RowsTotal, 10)
	}
	if j.FinishedAt != nil {
		r["finished_at"] = timeText(*j.FinishedAt)
	}
	if j.Status.Terminal() && j.Error != "" {
		r["error"] = j.Error
	}
	if j.Status.Terminal() && j.ErrorClass != "" {
		r["error_class"] = j.ErrorClass
	}
	return r
}

// timeText writes a time as PostgreSQL does.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.999999-07") }

// closeInterrupted closes the local jobs that were cut off with their process. What keeps it from that does not keep a
// server from starting: the next flush of the table tries again.
func (n *node) closeInterrupted(ctx context.Context) error {
	f, err := flush.New(flush.Deps{Hot: n.db, Ledger: n.ledger, Stores: n.stores, Log: n.log})
	if err != nil {
		return err
	}
	closed, err := f.CloseInterrupted(ctx)
	for _, id := range closed {
		n.log.Warn("closed a local job that was cut off with its process", obs.KeyJob, id)
	}
	if err != nil && hot.IsConnectionError(err) {
		return err
	}
	if err != nil {
		n.log.Error("could not close all local jobs that were cut off", obs.KeyErr, err)
	}
	return nil
}
