package telemetry

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillwaydb/spillway/internal/obs"
)

// Health is what the ledger knows of things that should pass.
type Health struct {
	Open            int64
	OldestOpen      float64 // seconds
	Unswept         int64
	Tombstones      int64
	OldestCondemned float64          // seconds
	Findings        map[string]int64 // by kind
}

// JobCount is how many live jobs there are of a kind.
type JobCount struct {
	Type, Status string
	Jobs         int
}

// Lag is how far a table is behind its flush policy.
type Lag struct {
	Table   string // schema.name
	Seconds float64
}

// Sources are asked when the process is scraped. A nil one is not asked.
type Sources struct {
	Health func(context.Context) (Health, error)
	Jobs   func(context.Context) ([]JobCount, error)
	// Lags returns the tables that are behind their policy, of these at most so many, the ones furthest behind first; and how many
	// there are in all.
	Lags func(ctx context.Context, most int) (furthest []Lag, behind int, err error)

	Keep    time.Duration // how long an answer counts as new; default 15 s
	Timeout time.Duration // of each question; default 3 s
	Log     *slog.Logger  // of the beginning and the end of an outage; default: none
}

// maxLags bounds the label "table".
const maxLags = 50

// The names of sources.
const (
	SourceLedger   = "ledger"
	SourceJobs     = "jobs"
	SourcePolicies = "policies"
)

var (
	readOK            = desc(obs.ReadOK)
	readSeconds       = desc(obs.ReadSeconds)
	jobs              = desc(obs.Jobs)
	openAttempts      = desc(obs.OpenAttempts)
	oldestOpen        = desc(obs.OldestOpen)
	condemnedAttempts = desc(obs.CondemnedAttempts)
	oldestCondemned   = desc(obs.OldestCondemned)
	findings          = desc(obs.Findings)
	policyLag         = desc(obs.PolicyLag)
	policyLagMax      = desc(obs.PolicyLagMax)
	policiesBehind    = desc(obs.PoliciesBehind)
)

// OfSources adds what the ledger and Temporal know.
func (m *Metrics) OfSources(s Sources) {
	if s.Keep <= 0 {
		s.Keep = 15 * time.Second
	}
	if s.Timeout <= 0 {
		s.Timeout = 3 * time.Second
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	add := func(name string, ask func(context.Context) ([]prometheus.Metric, error)) {
		m.registry.MustRegister(&source{name: name, ask: ask, keep: s.Keep, timeout: s.Timeout, log: s.Log})
	}
	if s.Health != nil {
		add(SourceLedger, s.health)
	}
	if s.Jobs != nil {
		add(SourceJobs, s.jobs)
	}
	if s.Lags != nil {
		add(SourcePolicies, s.lags)
	}
}

func gaugeOf(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (s Sources) health(ctx context.Context) ([]prometheus.Metric, error) {
	h, err := s.Health(ctx)
	if err != nil {
		return nil, err
	}
	list := []prometheus.Metric{
		gaugeOf(openAttempts, float64(h.Open)), gaugeOf(oldestOpen, h.OldestOpen), gaugeOf(oldestCondemned, h.OldestCondemned),
		gaugeOf(condemnedAttempts, float64(h.Unswept), strconv.FormatBool(false)), gaugeOf(condemnedAttempts, float64(h.Tombstones), strconv.FormatBool(true)),
	}
	for kind, n := range h.Findings {
		list = append(list, gaugeOf(findings, float64(n), kind))
	}
	return list, nil
}

func (s Sources) jobs(ctx context.Context) ([]prometheus.Metric, error) {
	counts, err := s.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	// A kind of which there is none has its zero, so that a graph falls and does not break off.
	by := map[JobCount]int{}
	for _, typ := range jobTypes {
		by[JobCount{Type: typ, Status: "running"}] = 0
	}
	for _, c := range counts {
		by[JobCount{Type: c.Type, Status: c.Status}] += c.Jobs
	}
	var list []prometheus.Metric
	for kind, n := range by {
		list = append(list, gaugeOf(jobs, float64(n), kind.Type, kind.Status))
	}
	return list, nil
}

func (s Sources) lags(ctx context.Context) ([]prometheus.Metric, error) {
	furthest, behind, err := s.Lags(ctx, maxLags)
	if err != nil {
		return nil, err
	}
	most := 0.0
	list := []prometheus.Metric{gaugeOf(policiesBehind, float64(behind))}
	for i, l := range furthest {
		if most = max(most, l.Seconds); i < maxLags {
			list = append(list, gaugeOf(policyLag, l.Seconds, l.Table))
		}
	}
	return append(list, gaugeOf(policyLagMax, most)), nil
}

// source is asked by one scrape at a time, and not again while its answer is new. It describes no metric beforehand, for what it
// has depends on the answer.
type source struct {
	name          string
	ask           func(context.Context) ([]prometheus.Metric, error)
	keep, timeout time.Duration
	log           *slog.Logger

	mu     sync.Mutex
	down   bool
	asked  time.Time
	answer []prometheus.Metric // with how the question went
}

func (s *source) Describe(chan<- *prometheus.Desc) {}

func (s *source) Collect(ch chan<- prometheus.Metric) {
	for _, m := range s.latest() {
		ch <- m
	}
}

// latest asks if the last answer is old. An answer that did not come counts as one: a database that is down is not asked by every
// scrape.
func (s *source) latest() []prometheus.Metric {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.asked.IsZero() && time.Since(s.asked) < s.keep {
		return s.answer
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	began := time.Now()
	list, err := s.ask(ctx)
	ok := 1.0
	if err != nil {
		ok, list = 0, nil
	}
	switch was := s.down; {
	case err != nil && !was:
		s.log.Warn("a source of metrics does not answer", obs.KeySource, s.name, obs.KeyErr, err)
	case err == nil && was:
		s.log.Info("a source of metrics answers again", obs.KeySource, s.name)
	}
	s.down = err != nil
	s.asked = time.Now()
	s.answer = append(list, gaugeOf(readOK, ok, s.name), gaugeOf(readSeconds, s.asked.Sub(began).Seconds(), s.name))
	return s.answer
}
