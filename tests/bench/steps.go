package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/jobmanager"
)

// steps runs the steps of a flush in this process, in the order of the workflow but without one: what the protocol, the
// encoder and the store cost, Temporal and the SQL front-end aside.
type steps struct {
	b       *bed
	db      *hot.DB
	flusher *flush.Flusher
	ledger  *ledger.Ledger
}

// openSteps wires a Flusher to the bed's database, with a folder as its storage.
func (b *bed) openSteps(ctx context.Context) (*steps, error) {
	db, err := hot.Open(ctx, b.workerURL(), nil)
	if err != nil {
		return nil, err
	}
	s := &steps{b: b, db: db, ledger: ledger.New(db.Pool(), nil)}
	if err := s.prepare(ctx, b.storage()); err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}

func (s *steps) prepare(ctx context.Context, location string) error {
	store, err := objstore.Open(ctx, location)
	if err != nil {
		return err
	}
	if err := s.ledger.Migrate(ctx); err != nil {
		return err
	}
	if _, err := s.ledger.Installation(ctx, database); err != nil {
		return err
	}
	if _, err := s.ledger.EnsureDefaultStorage(ctx, store.URL("")); err != nil {
		return err
	}
	s.flusher, err = flush.New(flush.Deps{
		Hot: s.db, Ledger: s.ledger, Stores: coldstore.NewLedgerStores(s.ledger, nil), Log: slog.New(slog.DiscardHandler),
	})
	return err
}

func (s *steps) close() { s.db.Close() }

// run flushes app.<table> as one job. With -profile, the profile of the last round stays.
func (s *steps) run(ctx context.Context, t table) (int64, error) {
	if s.b.cfg.profile == "" {
		return s.flush(ctx, t)
	}
	file, err := os.Create(s.b.cfg.profile)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	if err := pprof.StartCPUProfile(file); err != nil {
		return 0, err
	}
	defer pprof.StopCPUProfile()
	return s.flush(ctx, t)
}

func (s *steps) flush(ctx context.Context, t table) (int64, error) {
	created := time.Now()
	request := uuid.New()
	job := jobmanager.JobID{Type: "flush", Table: jobmanager.Table{Namespace: "app", Name: t.name}, UUID: uuid.New()}.String()
	err := s.ledger.PutRequest(ctx, ledger.Request{
		ID: request, JobType: "flush", Schema: "app", Table: t.name,
		Params: map[string]string{"parallelism": strconv.Itoa(s.b.cfg.parallelism), "chunk_bytes": strconv.FormatInt(s.b.cfg.chunkBytes, 10)},
	})
	if err != nil {
		return 0, err
	}
	step := s.stopwatch()
	plan, err := s.flusher.Plan(ctx, jobstep.PlanInput{JobID: job, RequestID: request.String(), Generation: 1})
	if err != nil {
		return 0, err
	}
	step("plan")
	rows, err := inParallel(ctx, plan.Parallelism, plan.Chunks, func(ctx context.Context, _, i int) (int64, error) {
		res, err := s.flusher.RunChunk(ctx, jobstep.ChunkInput{JobID: job, Chunk: plan.FirstChunk + i, Attempt: 1}, nil)
		return res.Rows, err
	})
	if err != nil {
		return 0, err
	}
	step("chunks")
	left, err := s.flusher.Residue(ctx, jobstep.ResidueInput{JobID: job, Pass: 1})
	if err != nil {
		return 0, err
	}
	if left.RowsLeft != 0 {
		return 0, fmt.Errorf("%d rows were left", left.RowsLeft)
	}
	step("residue")
	if err := s.flusher.Publish(ctx, job); err != nil {
		return 0, err
	}
	step("publish")
	end, err := s.flusher.Finish(ctx, jobstep.FinishInput{
		JobID: job, RequestID: request.String(), Status: string(jobmanager.Completed), RowsLeft: &left.RowsLeft, CreatedAt: created, StartedAt: &created,
	})
	step("finish")
	if err == nil && end.Rows != rows {
		err = fmt.Errorf("the ledger counts %d rows, the chunks %d", end.Rows, rows)
	}
	return rows, err
}

// stopwatch tells how long each step took since the one before.
func (s *steps) stopwatch() func(step string) {
	last := time.Now()
	return func(step string) {
		s.b.say("         %-10s %8.3f s", step, time.Since(last).Seconds())
		last = time.Now()
	}
}
