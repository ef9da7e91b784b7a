package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/spillwaydb/spillway/internal/obs"
)

// Metrics are those of one process. It implements the meters of the rooms that are measured. All of its methods may be called
// by many goroutines at once.
type Metrics struct {
	registry *prometheus.Registry

	ended, failed, rows, bytes, failures, statements *prometheus.CounterVec
	chunk, commit, upload, statementSeconds          *prometheus.HistogramVec
}

// Buckets, in seconds. A chunk takes about as long as 64 MiB of heap do; a COMMIT waits for one fsync, or for a standby.
var (
	chunkBuckets     = []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300}
	commitBuckets    = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30}
	uploadBuckets    = []float64{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60}
	statementBuckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10, 60, 600}
)

// New returns the metrics that every process has: those of Go and of the process, its version, and whether it is ready.
func New(version string, ready func() error) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := gaugeVec(obs.BuildInfo)
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(build)
	m.gauge(obs.Ready, func() float64 {
		if ready() != nil {
			return 0
		}
		return 1
	})
	return m
}

// Handler serves /metrics. One that cannot be gathered does not keep the others.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4})
}

// Gatherer is where tests read the metrics.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// jobTypes are the types that have their zeros from the start.
var jobTypes = []string{"flush", "restore", "verify", "cleanup"}

// OfJobs adds what steps of jobs tell: this process moves chunks. running says how many it is at; classes are those of errors, and
// whether time can cure them.
func (m *Metrics) OfJobs(slots int, running func() int, classes map[string]bool) {
	m.ended, m.failed, m.failures = counterVec(obs.JobsEnded), counterVec(obs.JobsFailed), counterVec(obs.StepFailures)
	m.rows, m.bytes = counterVec(obs.RowsMoved), counterVec(obs.BytesMoved)
	m.chunk, m.commit = histogramVec(obs.ChunkSeconds, chunkBuckets), histogramVec(obs.CommitSeconds, commitBuckets)
	m.upload = histogramVec(obs.UploadSeconds, uploadBuckets)
	m.registry.MustRegister(m.ended, m.failed, m.failures, m.rows, m.bytes, m.chunk, m.commit, m.upload)
	// A counter that does not exist yet cannot rise: the first failure of a quiet week must be seen as one.
	for _, typ := range jobTypes {
		for _, status := range []string{"completed", "failed", "cancelled"} {
			m.ended.WithLabelValues(typ, status)
		}
		m.rows.WithLabelValues(typ)
		m.bytes.WithLabelValues(typ)
	}
	for class, retryable := range classes {
		m.failed.WithLabelValues(class)
		m.failures.WithLabelValues(class, strconv.FormatBool(retryable))
	}
	m.gauge(obs.Slots, func() float64 { return float64(slots) })
	m.gauge(obs.ChunksRunning, func() float64 { return float64(running()) })
}

// OfFront adds what the SQL front-end tells: this process serves clients. sessions says how many.
func (m *Metrics) OfFront(sessions func() int) {
	m.statements, m.statementSeconds = counterVec(obs.Statements), histogramVec(obs.StatementSeconds, statementBuckets)
	m.registry.MustRegister(m.statements, m.statementSeconds)
	m.gauge(obs.Sessions, func() float64 { return float64(sessions()) })
}

// PoolStat is where a pool of connections stands.
type PoolStat struct {
	Idle, Used, Opening, Max int32
	Waits                    int64 // how often a connection was waited for
	Waited                   time.Duration
}

// OfPool adds what a pool of connections tells.
func (m *Metrics) OfPool(stat func() PoolStat) { m.registry.MustRegister(&pool{stat}) }

// Chunk implements flush.Meter.
func (m *Metrics) Chunk(jobType, outcome string, took time.Duration) {
	m.chunk.WithLabelValues(jobType, outcome).Observe(took.Seconds())
}

// Moved implements flush.Meter.
func (m *Metrics) Moved(jobType string, rows, bytes int64) {
	m.rows.WithLabelValues(jobType).Add(float64(rows))
	m.bytes.WithLabelValues(jobType).Add(float64(bytes))
}

// Committed implements flush.Meter.
func (m *Metrics) Committed(jobType string, took time.Duration) {
	m.commit.WithLabelValues(jobType).Observe(took.Seconds())
}

// Uploaded implements flush.Meter.
func (m *Metrics) Uploaded(jobType string, took time.Duration) {
	m.upload.WithLabelValues(jobType).Observe(took.Seconds())
}

// Ended implements flush.Meter.
func (m *Metrics) Ended(jobType, status, class string) {
	m.ended.WithLabelValues(jobType, status).Inc()
	if class != "" {
		m.failed.WithLabelValues(class).Inc()
	}
}

// StepFailed notes a failed attempt at a step of a job.
func (m *Metrics) StepFailed(class string, retryable bool) {
	m.failures.WithLabelValues(class, strconv.FormatBool(retryable)).Inc()
}

// Statement implements sqlfront.Meter.
func (m *Metrics) Statement(kind string, took time.Duration, failed bool) {
	outcome := "ok"
	if failed {
		outcome = "error"
	}
	m.statements.WithLabelValues(kind, outcome).Inc()
	m.statementSeconds.WithLabelValues(kind).Observe(took.Seconds())
}

// Relayed implements sqlfront.Meter.
func (m *Metrics) Relayed() { m.statements.WithLabelValues("relayed", "ok").Inc() }

// gauge registers a metric that is asked for at every scrape.
func (m *Metrics) gauge(d obs.Metric, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, value))
}

func gaugeVec(d obs.Metric) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, d.Labels)
}

func counterVec(d obs.Metric) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, d.Labels)
}

func histogramVec(d obs.Metric, buckets []float64) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: d.Name, Help: d.Help, Buckets: buckets}, d.Labels)
}

// pool collects what a pool tells, all of one moment.
type pool struct{ stat func() PoolStat }

var (
	poolConnections = desc(obs.PoolConnections)
	poolMax         = desc(obs.PoolMax)
	poolWaits       = desc(obs.PoolWaits)
	poolWaitSeconds = desc(obs.PoolWaitSeconds)
)

func desc(d obs.Metric) *prometheus.Desc { return prometheus.NewDesc(d.Name, d.Help, d.Labels, nil) }

func (p *pool) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{poolConnections, poolMax, poolWaits, poolWaitSeconds} {
		ch <- d
	}
}

func (p *pool) Collect(ch chan<- prometheus.Metric) {
	s := p.stat()
	for state, n := range map[string]int32{"idle": s.Idle, "used": s.Used, "opening": s.Opening} {
		ch <- prometheus.MustNewConstMetric(poolConnections, prometheus.GaugeValue, float64(n), state)
	}
	ch <- prometheus.MustNewConstMetric(poolMax, prometheus.GaugeValue, float64(s.Max))
	ch <- prometheus.MustNewConstMetric(poolWaits, prometheus.CounterValue, float64(s.Waits))
	ch <- prometheus.MustNewConstMetric(poolWaitSeconds, prometheus.CounterValue, s.Waited.Seconds())
}
