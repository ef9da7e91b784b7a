package worker

import (
	"fmt"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/obs"
)

// namedAtMost is how many chunks one report names.
const namedAtMost = 8

// report says what a stop waits for, and for how much longer.
func (w *Worker) report(deadline time.Time) {
	chunks := w.running()
	w.opt.Logger.Info("still waiting before the stop", obs.KeyQueue, w.queue, "chunks", len(chunks),
		"left", time.Until(deadline).Round(time.Second), "running", describe(chunks, time.Now()))
}

// describe names chunks for people.
func describe(chunks []activities.Running, now time.Time) string {
	if len(chunks) == 0 {
		return "no chunk, but other steps of jobs"
	}
	var parts []string
	for _, c := range chunks[:min(len(chunks), namedAtMost)] {
		parts = append(parts, fmt.Sprintf("%s chunk %d: %d rows in %s", c.JobID, c.Chunk, c.Rows, now.Sub(c.Since).Round(time.Second)))
	}
	if more := len(chunks) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, "; ")
}
