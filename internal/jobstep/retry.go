package jobstep

import "time"

// What every manager does about a step that fails with a class that time can cure: it tries again, after a wait that doubles,
// and a finite number of times. A table that keeps changing is planned again only so often.
const (
	DefaultAttempts = 10
	DefaultReplans  = 5
	FirstBackoff    = time.Second
	MaxBackoff      = time.Minute
)
