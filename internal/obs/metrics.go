package obs

// Metric describes one metric. The name, its labels and its help are written here once; docs/metrics.md says what to do
// about it, and a test compares the two.
type Metric struct {
	Name   string
	Type   string // counter, gauge or histogram
	Labels []string
	Help   string
}

// What one process knows of itself.
var (
	BuildInfo = Metric{"spillway_build_info", "gauge", []string{"version"}, "1, with the version as a label."}
	Ready     = Metric{"spillway_ready", "gauge", nil, "1 if this process can do its work now, else 0."}

	JobsEnded     = Metric{"spillway_jobs_ended_total", "counter", []string{"type", "status"}, "Jobs whose end this process recorded: completed, failed or cancelled."}
	JobsFailed    = Metric{"spillway_jobs_failed_total", "counter", []string{"class"}, "Jobs whose failure this process recorded, by the class of their error."}
	RowsMoved     = Metric{"spillway_rows_moved_total", "counter", []string{"type"}, "Rows that this process moved, counted when their chunk is committed."}
	BytesMoved    = Metric{"spillway_bytes_moved_total", "counter", []string{"type"}, "Compressed bytes of the segments that this process wrote, counted when their chunk is committed."}
	ChunkSeconds  = Metric{"spillway_chunk_seconds", "histogram", []string{"type", "outcome"}, "How long attempts at chunks took, from the look at earlier ones to the end. outcome: committed, failed or stopped."}
	CommitSeconds = Metric{"spillway_commit_seconds", "histogram", []string{"type"}, "How long PostgreSQL took to answer the COMMIT of a chunk."}
	UploadSeconds = Metric{"spillway_upload_seconds", "histogram", []string{"type"}, "How long the storage took to make the object of a chunk durable, once all of it was written."}
	StepFailures  = Metric{"spillway_step_failures_total", "counter", []string{"class", "retryable"}, "Attempts at steps of jobs that failed, by the class of their error. retryable: true if time can cure it."}
	Slots         = Metric{"spillway_slots", "gauge", nil, "Chunks that this worker moves at once, at most."}
	ChunksRunning = Metric{"spillway_chunks_running", "gauge", nil, "Chunks that this worker is at now."}

	PoolConnections = Metric{"spillway_pool_connections", "gauge", []string{"state"}, "Connections of this process to PostgreSQL in its pool: idle, used or opening. Those that move chunks are not in it."}
	PoolMax         = Metric{"spillway_pool_max_connections", "gauge", nil, "Connections that the pool may open."}
	PoolWaits       = Metric{"spillway_pool_waits_total", "counter", nil, "How often a connection of the pool had to be waited for."}
	PoolWaitSeconds = Metric{"spillway_pool_wait_seconds_total", "counter", nil, "How long connections of the pool were waited for, in all."}

	Sessions         = Metric{"spillway_sessions", "gauge", nil, "Clients that are logged in at this SQL front-end."}
	Statements       = Metric{"spillway_statements_total", "counter", []string{"kind", "outcome"}, "Statements at this SQL front-end. kind: of ours the command tag (FLUSH, KILL JOB, SHOW, …), counted at each run; relayed: a text that goes to PostgreSQL as it is, counted once if it is prepared. outcome: ok or error; of relayed ones nothing is known, and they are ok."}
	StatementSeconds = Metric{"spillway_statement_seconds", "histogram", []string{"kind"}, "How long statements of ours took, waits for jobs included."}
)

// What this process reads from the ledger and from Temporal when it is scraped, at most every few seconds. Every process of
// an installation says the same of them, so that they are not to be added up.
var (
	Jobs              = Metric{"spillway_jobs", "gauge", []string{"type", "status"}, "Live jobs, by what Temporal's visibility says of them. Those beyond the first 5000 are in type \"other\", status \"uncounted\"."}
	OpenAttempts      = Metric{"spillway_open_attempts", "gauge", nil, "Attempts that the ledger knows and that have neither committed nor been condemned: those that run, and what crashes left."}
	OldestOpen        = Metric{"spillway_oldest_open_attempt_seconds", "gauge", nil, "Age of the oldest of them; 0: there is none."}
	CondemnedAttempts = Metric{"spillway_condemned_attempts", "gauge", []string{"swept"}, "Attempts that can never commit. swept: false while what they may have left in a storage was not yet looked for and removed; true: they are only remembered."}
	OldestCondemned   = Metric{"spillway_oldest_condemned_attempt_seconds", "gauge", nil, "How long ago the oldest of those with swept=\"false\" was condemned; 0: there is none."}
	Findings          = Metric{"spillway_findings", "gauge", []string{"kind"}, "Objects that are not as the ledger says, by what the newest VERIFY of each table and the newest CLEANUP found and left: damaged, missing, stray or leftover."}
	PolicyLag         = Metric{"spillway_policy_lag_seconds", "gauge", []string{"table"}, "How long ago a flush policy of the table became due without its flush having ended. Only tables that are behind, at most 50: the ones furthest behind."}
	PolicyLagMax      = Metric{"spillway_policy_lag_max_seconds", "gauge", nil, "The greatest lag of all tables with a policy; 0: none is behind."}
	PoliciesBehind    = Metric{"spillway_policies_behind", "gauge", nil, "Tables whose policy is due and whose flush has not ended."}
	ReadOK            = Metric{"spillway_read_ok", "gauge", []string{"source"}, "1 if the last look at a source answered in time, else 0; then its metrics are missing. source: ledger, jobs or policies."}
	ReadSeconds       = Metric{"spillway_read_seconds", "gauge", []string{"source"}, "How long the last look at a source took."}
)

// Metrics lists all of them.
func Metrics() []Metric {
	return []Metric{
		BuildInfo, Ready, Jobs, JobsEnded, JobsFailed, RowsMoved, BytesMoved, ChunkSeconds, CommitSeconds, UploadSeconds, StepFailures, Slots, ChunksRunning,
		PolicyLag, PolicyLagMax, PoliciesBehind, OpenAttempts, OldestOpen, CondemnedAttempts, OldestCondemned, Findings,
		PoolConnections, PoolMax, PoolWaits, PoolWaitSeconds, Sessions, Statements, StatementSeconds, ReadOK, ReadSeconds,
	}
}
