package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/policy"
)

const (
	policyTicks  = 20 // of each kind
	policyDelays = 10
	policyWrites = 50 // tables that get a row between two ticks
)

// measurePolicies measures what a look at 1 000 and at 10 000 tables with policies costs, and how late a threshold is noticed. The
// watcher runs in this process; its starts are only written down.
func measurePolicies(ctx context.Context, b *bed, rep *report) error {
	s, err := b.openSteps(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	made := 0
	for _, n := range []int{1000, 10_000} {
		if err := b.policyTables(ctx, made, n); err != nil {
			return err
		}
		made = n
		if err := s.measureWatch(ctx, rep, n); err != nil {
			return err
		}
	}
	return nil
}

// policyTables makes tables with ten rows each, whose policies want a thousand.
func (b *bed) policyTables(ctx context.Context, from, to int) error {
	for first := from; first < to; first += 200 { // each block fits the lock table
		err := execAll(ctx, b.super, fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP
				EXECUTE format('CREATE TABLE app.p%%s AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 10) AS g', i);
				EXECUTE format('GRANT SELECT ON app.p%%s TO %s', i); END LOOP; END $$`, first, first+199, workerRole),
			fmt.Sprintf(`INSERT INTO spillway.tables (table_schema, table_name, policy, policy_set_at)
				SELECT 'app', 'p' || i, '{"rows": 1000, "interval": "24h"}', now() FROM generate_series(%d, %d) AS i`, first, first+199))
		if err != nil {
			return err
		}
	}
	return b.settle(ctx)
}

// asked is a start that a watcher asked for.
type asked struct {
	table string
	at    time.Time
}

// written is a starter that only writes down what it was asked and when.
type written struct{ starts chan asked }

func (w written) StartFlush(_ context.Context, d ledger.Duty, _ policy.Policy) (string, error) {
	w.starts <- asked{d.Table, time.Now()}
	return "flush:app.none:" + uuid.NewString(), nil
}

// await returns when the flush of a table was asked for. Others, of tables that are due from earlier rounds, are left out.
func (w written) await(ctx context.Context, table string) (time.Time, error) {
	patience := time.NewTimer(30 * time.Second)
	defer patience.Stop()
	for {
		select {
		case s := <-w.starts:
			if s.table == table {
				return s.at, nil
			}
		case <-patience.C:
			return time.Time{}, fmt.Errorf("a threshold of app.%s was not noticed", table)
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

func (s *steps) measureWatch(ctx context.Context, rep *report, tables int) error {
	starts := written{starts: make(chan asked, 100)}
	w, err := policy.New(s.ledger, s.db, starts, &policy.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := w.Tick(ctx); err != nil {
		return err
	}
	first := time.Since(begin)
	for settled := false; !settled; { // until all are known
		if err := w.Tick(ctx); err != nil {
			return err
		}
		settled = w.Cost().Measured == 0 && w.Cost().Counts == 0
	}
	quiet, err := ticks(ctx, w, func(int) error { return nil })
	if err != nil {
		return err
	}
	busy, err := ticks(ctx, w, func(i int) error {
		for k := range policyWrites {
			if err := execAll(ctx, s.b.super, fmt.Sprintf("INSERT INTO app.p%d VALUES (0, 'x')", (i*policyWrites+k*7)%tables)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	q := latency(fmt.Sprintf("a look at %d policies, nothing committed, p50", tables), 50, quiet)
	q.note("the first look took %s", first.Round(time.Millisecond))
	rep.add(q)
	rep.add(latency(fmt.Sprintf("a look at %d policies, %d tables changed, p50", tables, policyWrites), 50, busy).judge(atMost(1000, "ms"), atMost(100, "ms")))
	delays, err := s.delays(ctx, w, starts, tables)
	if err != nil {
		return err
	}
	rep.add(latency(fmt.Sprintf("threshold passed → flush started, %d policies, the latest of %d", tables, policyDelays), 100, delays).judge(atMost(2000, "ms"), nil))
	return nil
}

// ticks measures looks, each after a change.
func ticks(ctx context.Context, w *policy.Watcher, change func(i int) error) (took []time.Duration, err error) {
	for i := range policyTicks {
		if err := change(i); err != nil {
			return nil, err
		}
		if err := w.Tick(ctx); err != nil {
			return nil, err
		}
		took = append(took, w.Cost().Took)
	}
	return took, nil
}

// delays passes the thresholds of some tables, one after the other and not in step with the watcher.
func (s *steps) delays(ctx context.Context, w *policy.Watcher, starts written, tables int) (late []time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx, nil) }()
	defer func() { cancel(); <-done }()
	for i := range policyDelays {
		table := fmt.Sprintf("p%d", tables/2+i)
		if err := execAll(ctx, s.b.super, fmt.Sprintf("INSERT INTO app.%s SELECT g, md5(g::text) FROM generate_series(1, 1000) AS g", table)); err != nil {
			return nil, err
		}
		passed := time.Now()
		begun, err := starts.await(ctx, table)
		if err != nil {
			return nil, err
		}
		late = append(late, begun.Sub(passed))
		select {
		case <-time.After(time.Duration(130*i) * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return late, nil
}
