package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/cli/clitest"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

func TestMeter(t *testing.T) {
	t.Parallel()
	jobs := []sqlclient.Row{
		{"status": "pending"},
		{"status": "running", "progress": "0.31", "rows_flushed": "61234", "rows_total": "200000", "segments": "4", "bytes_written": "1234567"},
		{"status": "running", "progress": "0.32", "rows_flushed": "61235", "rows_total": "200000", "segments": "4", "bytes_written": "1234567"},
		{"status": "completed", "progress": "1", "rows_flushed": "200000", "rows_total": "200000", "segments": "9", "bytes_written": "4234567"},
	}
	still := func() time.Time { return time.Unix(0, 0) }
	var plain, bar bytes.Buffer
	for _, p := range []*Meter{{W: &plain, now: still}, {W: &bar, Bar: true, now: still}} {
		for _, j := range jobs {
			p.Show(j)
		}
		p.Done()
	}
	want := "pending      0 %  0 rows, 0 segments, 0 B\n" +
		"running     31 %  61 234 of 200 000 rows, 4 segments, 1.2 MB\n" +
		"completed  100 %  200 000 of 200 000 rows, 9 segments, 4.2 MB\n"
	if plain.String() != want {
		t.Errorf("plain:\n%s\nwant:\n%s", plain.String(), want)
	}
	clitest.Contains(t, bar.String(), "\r\x1b[K[#######.................] running     31 %", "[########################] completed")
	if !strings.HasSuffix(bar.String(), "\n") {
		t.Error("the bar's last line has no end")
	}
}

// Each kind of job counts what it works on, and tells how fast it goes and how long it still takes.
func TestRates(t *testing.T) {
	t.Parallel()
	at := time.Unix(0, 0)
	for id, c := range map[string]struct{ first, last string }{
		"flush:a.b:x":   {"running     25 %  1 000 of 4 000 rows, 1 segment, 10 B", "running     50 %  2 000 of 4 000 rows, 2 segments, 20 B, 100 rows/s, 20s left"},
		"restore:a.b:x": {"running     25 %  1 000 of 4 000 rows, 1 segment, 10 B", "running     50 %  2 000 of 4 000 rows, 2 segments, 20 B, 100 rows/s, 20s left"},
		"verify:a.b:x":  {"running     25 %  20 of 80 segments read", "running     50 %  40 of 80 segments read, 2.0 segments/s, 20s left"},
		"cleanup:x":     {"running     25 %  1 of 4 groups", "running     50 %  2 of 4 groups, 0.1 groups/s, 20s left"},
	} {
		var b bytes.Buffer
		p := &Meter{W: &b, now: func() time.Time { return at }}
		job := sqlclient.Row{"job_id": id, "status": "running", "progress": "0.25", "rows_flushed": "1000", "rows_total": "4000", "segments": "1", "bytes_written": "10", "chunks_done": "1", "chunks_total": "4"}
		CountSegments(job, "80")
		p.Show(job)
		at = at.Add(10 * time.Second)
		job["progress"], job["rows_flushed"], job["segments"], job["bytes_written"], job["chunks_done"] = "0.5", "2000", "2", "20", "2"
		CountSegments(job, "80")
		p.Show(job)
		if got, want := b.String(), c.first+"\n"+c.last+"\n"; got != want {
			t.Errorf("%s:\n%swant\n%s", id, got, want)
		}
	}
}
