package workflows

import (
	"time"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/jobmanager"
)

// FlushInput starts a FlushJob. What to flush, predicate and options, is in the ledger under RequestID.
type FlushInput struct {
	Table     jobmanager.Table
	RequestID string
	CreatedAt time.Time // when the job was asked for; zero: when the workflow started
	Tuning    Tuning
	State     *FlushState // set when a run continues the one before it
}

// Tuning sets the limits of a job. Zero fields mean the defaults.
type Tuning struct {
	Parallelism  int           // chunks at once where the plan does not say; default 2
	ChunksPerRun int           // chunks before the workflow continues as a new run; default 500
	Attempts     int           // tries at each step before the job fails; default 10
	Backoff      time.Duration // before the second try, doubled each time; default 1 s
	MaxBackoff   time.Duration // default 1 min
	Heartbeat    time.Duration // silence after which a worker counts as lost; default 10 s
	StepTimeout  time.Duration // longest time for one try; default 24 h, for heartbeats find the dead
	Replans      int           // how often a table may change under a job; default 5
}

func (t Tuning) withDefaults() Tuning {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	defTime := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&t.Parallelism, 2)
	def(&t.ChunksPerRun, 500)
	def(&t.Attempts, activities.DefaultAttempts)
	def(&t.Replans, activities.DefaultReplans)
	defTime(&t.Backoff, activities.FirstBackoff)
	defTime(&t.MaxBackoff, activities.MaxBackoff)
	defTime(&t.Heartbeat, 10*time.Second)
	defTime(&t.StepTimeout, 24*time.Hour)
	return t
}

// FlushState is what one run of a FlushJob hands to the next.
type FlushState struct {
	CreatedAt time.Time
	StartedAt *time.Time // when the first chunk got a slot

	Generation  int // of the newest plan
	Parallelism int
	Next, End   int // chunks of the newest plan that are not begun: Next ≤ chunk < End
	Pass        int // residue passes so far
	Replans     int

	Done, Total int // chunks, through all generations
	Rows        int64
	RowsTotal   int64 // an estimate
	Bytes       int64
	Segments    int
	Skipped     int64 // rows left because of locks, since the last residue pass
	RowsLeft    *int64

	Manners *activities.Manners `json:",omitempty"` // of the newest plan
	Pace    activities.Pace
	Sizing  activities.Sizing
	CalmAt  time.Time // when a look last found the database calm

	Paused    bool // asked to pause, and not to go on
	Vacuum    bool // there is something to vacuum when the rows have moved
	Dirty     bool // an attempt failed or was given up, so its objects may lie about
	LastClass string
}

// Progress answers ProgressQuery.
type Progress struct {
	Phase       Phase
	ChunksDone  int
	ChunksTotal int
	InFlight    int
	Rows        int64
	RowsTotal   int64
	Bytes       int64
	Segments    int
	LastClass   string // class of the last error, or ""
}

// Phase is what a job is busy with.
type Phase string

// The phases, in order.
const (
	PhasePlanning   Phase = "planning"
	PhaseMoving     Phase = "moving"
	PhaseChecking   Phase = "checking" // VERIFY: reads segments back
	PhaseCleaning   Phase = "cleaning" // CLEANUP: removes objects
	PhaseListing    Phase = "listing"  // VERIFY: looks for objects that nothing explains
	PhaseResidue    Phase = "residue"
	PhasePublishing Phase = "publishing"
	PhaseVacuuming  Phase = "vacuuming"
	PhaseFinishing  Phase = "finishing"
	PhaseEnded      Phase = "ended"
)
