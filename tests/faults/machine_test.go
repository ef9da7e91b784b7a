package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/upkeep"
)

// machine is what one process of the product has: its connections and its steps.
type machine struct {
	hot     *hot.DB
	ledger  *ledger.Ledger
	stores  coldstore.Stores
	f       *flush.Flusher
	k       *upkeep.Keeper
	stopped atomic.Bool // no further step begins
}

// boot starts a machine on a database whose ledger is there.
func boot(ctx context.Context, url string) (*machine, error) {
	db, err := hot.Open(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	l := ledger.New(db.Pool(), nil)
	stores := coldstore.NewLedgerStores(l, nil)
	f, err := flush.New(flush.Deps{Hot: db, Ledger: l, Stores: stores, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		db.Close()
		return nil, err
	}
	k := upkeep.New(l, stores, slog.New(slog.DiscardHandler))
	return &machine{hot: db, ledger: l, stores: stores, f: f, k: k}, nil
}

func (m *machine) close() { m.hot.Close() }

// job is what a manager knows of a job.
type job struct {
	Op      operation
	ID      string
	Request string
}

// operation is what a job does.
type operation string

const (
	opFlush     operation = "flush"
	opScatter   operation = "scatter"   // a flush whose rows become files in many directories
	opRestore   operation = "restore"   // of all rows
	opRemainder operation = "remainder" // a restore that leaves rows cold
	opCleanup   operation = "cleanup"   // of what attempts left
	opStrays    operation = "strays"    // a clean-up of objects that were named
)

func (o operation) jobType() string {
	switch o {
	case opFlush, opScatter:
		return "flush"
	case opRestore, opRemainder:
		return "restore"
	}
	return jobstep.CleanupType
}

func (o operation) params() map[string]string {
	switch o {
	case opScatter:
		return map[string]string{"chunk_bytes": "64kB", "partition_by": "tenant"}
	case opRestore:
		return map[string]string{}
	case opRemainder:
		return map[string]string{"where": "(tenant = 1)"}
	case opCleanup, opStrays:
		return map[string]string{}
	}
	return map[string]string{"chunk_bytes": "64kB"}
}

// ask stores the request of a job.
func (m *machine) ask(ctx context.Context, op operation, params map[string]string) (job, error) {
	req := ledger.Request{ID: uuid.New(), JobType: op.jobType(), Schema: "app", Table: "t", Params: params, Trigger: "command"}
	id := req.JobType + ":app.t:" + uuid.NewString()
	if req.JobType == jobstep.CleanupType {
		req.Schema, req.Table, id = "", "", "cleanup::"+uuid.NewString()
	}
	return job{Op: op, ID: id, Request: req.ID.String()}, m.ledger.PutRequest(ctx, req)
}

// errStopped ends the drive of a machine that was told to stop.
var errStopped = errors.New("the machine was stopped")

// step does one step of a job as a manager does: again and again, if time can cure its error.
func (m *machine) step(ctx context.Context, tries int, do func(try int) error) (err error) {
	for try := 1; try <= tries; try++ {
		if m.stopped.Load() {
			return errStopped
		}
		if err = do(try); err == nil || ctx.Err() != nil || !jobstep.ClassOf(err).Retryable {
			return err
		}
	}
	return err
}

// drive takes a job from its first step to its last. Whoever calls it for a job that was begun goes on with it.
func (m *machine) drive(ctx context.Context, j job, tries int) error {
	plan := m.f.Plan
	switch j.Op.jobType() {
	case "restore":
		plan = m.f.PlanRestore
	case jobstep.CleanupType:
		plan = m.k.PlanCleanup
	}
	if _, ended, err := m.ledger.History(ctx, j.ID); err == nil && ended { // a workflow knows how far it was: only its last step is open
		return m.step(ctx, tries, func(int) error { return m.finish(ctx, j, "completed") })
	}
	var p jobstep.PlanResult
	planned := func(generation int) error {
		return m.step(ctx, tries, func(int) (err error) {
			p, err = plan(ctx, jobstep.PlanInput{JobID: j.ID, RequestID: j.Request, Generation: generation})
			return err
		})
	}
	if err := planned(1); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if err := m.chunks(ctx, j, tries, &p, planned); err != nil {
		return err
	}
	if j.Op.jobType() == "flush" {
		if err := m.residue(ctx, j, tries, &p, planned); err != nil {
			return err
		}
	}
	return m.last(ctx, j, tries)
}

// chunks moves all chunks of a plan. A table that has changed is planned again.
func (m *machine) chunks(ctx context.Context, j job, tries int, p *jobstep.PlanResult, planned func(int) error) error {
	run := m.f.RunChunk
	switch j.Op.jobType() {
	case "restore":
		run = m.f.RestoreSegment
	case jobstep.CleanupType:
		run = m.k.CleanUp
	}
	for n := p.FirstChunk; n < p.FirstChunk+p.Chunks; n++ {
		last := ""
		err := m.step(ctx, tries, func(try int) error {
			_, err := run(ctx, jobstep.ChunkInput{JobID: j.ID, Chunk: n, Attempt: try, Previous: last}, func(c jobstep.Checkpoint) {
				if c.AttemptID != "" {
					last = c.AttemptID
				}
			})
			return err
		})
		if err != nil && ctx.Err() == nil && jobstep.ClassOf(err).Name == jobstep.ClassReplan && p.Generation < 5 {
			if err := planned(p.Generation + 1); err != nil {
				return fmt.Errorf("plan again: %w", err)
			}
			n = p.FirstChunk - 1
			continue
		}
		if err != nil {
			return fmt.Errorf("chunk %d: %w", n, err)
		}
	}
	return nil
}

func (m *machine) residue(ctx context.Context, j job, tries int, p *jobstep.PlanResult, planned func(int) error) error {
	for pass := 1; ; pass++ {
		var left jobstep.ResidueResult
		err := m.step(ctx, tries, func(int) (err error) {
			left, err = m.f.Residue(ctx, jobstep.ResidueInput{JobID: j.ID, Pass: pass})
			return err
		})
		if err != nil {
			return fmt.Errorf("residue: %w", err)
		}
		if left.Plan == nil {
			return nil
		}
		*p = *left.Plan
		if err := m.chunks(ctx, j, tries, p, planned); err != nil {
			return err
		}
	}
}

// last are the steps after the chunks.
func (m *machine) last(ctx context.Context, j job, tries int) error {
	clean := func(int) error {
		if _, err := m.f.Sweep(ctx, j.ID); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		return m.f.Publish(ctx, j.ID)
	}
	if j.Op.jobType() == jobstep.CleanupType {
		clean = func(int) error { return m.k.FinishCleanup(ctx, j.ID) }
	}
	if err := m.step(ctx, tries, clean); err != nil {
		return fmt.Errorf("last steps: %w", err)
	}
	return m.step(ctx, tries, func(int) error { return m.finish(ctx, j, "completed") })
}

func (m *machine) finish(ctx context.Context, j job, status string) error {
	_, err := m.f.Finish(ctx, jobstep.FinishInput{JobID: j.ID, RequestID: j.Request, Status: status})
	return err
}

// kill ends a job that was cancelled, as its workflow does.
func (m *machine) kill(ctx context.Context, j job) error {
	if j.Op.jobType() != jobstep.CleanupType {
		if _, err := m.f.Sweep(ctx, j.ID); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		if err := m.f.Publish(ctx, j.ID); err != nil && !errors.Is(err, ledger.ErrNotFound) { // it may have died before its plan
			return fmt.Errorf("publish: %w", err)
		}
	}
	return m.finish(ctx, j, "cancelled")
}
