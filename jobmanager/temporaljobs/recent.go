package temporaljobs

import (
	"sync"
	"time"

	"github.com/spillwaydb/spillway/jobmanager"
)

// lag is the longest time for which visibility may not know of a change.
const lag = 10 * time.Second

// recentJobs remembers the jobs that this manager started while visibility may not list them yet: who starts a job and
// then lists jobs must find it.
type recentJobs struct {
	now func() time.Time

	mu   sync.Mutex
	jobs []recentJob // oldest first
}

type recentJob struct {
	id jobmanager.JobID
	at time.Time
}

func (r *recentJobs) add(id jobmanager.JobID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
	r.jobs = append(r.jobs, recentJob{id: id, at: r.now()})
}

// list returns the jobs started within the lag.
func (r *recentJobs) list() []jobmanager.JobID {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
	ids := make([]jobmanager.JobID, len(r.jobs))
	for i, j := range r.jobs {
		ids[i] = j.id
	}
	return ids
}

func (r *recentJobs) forget() {
	limit, n := r.now().Add(-lag), 0
	for n < len(r.jobs) && r.jobs[n].at.Before(limit) {
		n++
	}
	r.jobs = append(r.jobs[:0], r.jobs[n:]...)
}
