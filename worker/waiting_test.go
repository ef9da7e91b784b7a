package worker

import (
	"testing"
	"time"

	"github.com/spillwaydb/spillway/activities"
)

// A38: what a stop waits for is named, up to a length that a line can bear.
func TestDescribe(t *testing.T) {
	t.Parallel()
	now := time.Now()
	two := []activities.Running{
		{JobID: "flush:app.a:1", Chunk: 3, Rows: 12000, Since: now.Add(-4 * time.Second)}, {JobID: "flush:app.b:2", Since: now},
	}
	many := make([]activities.Running, namedAtMost+3)
	for _, c := range []struct {
		chunks []activities.Running
		want   string
	}{
		{nil, "no chunk, but other steps of jobs"},
		{two, "flush:app.a:1 chunk 3: 12000 rows in 4s; flush:app.b:2 chunk 0: 0 rows in 0s"},
	} {
		if got := describe(c.chunks, now); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	if got := describe(many, now); got[len(got)-len("; and 3 more"):] != "; and 3 more" {
		t.Errorf("got %q", got)
	}
}
