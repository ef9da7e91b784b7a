package workflows

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	enumspb "go.temporal.io/api/enums/v1"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/jobmanager"
)

func TestWorkflowID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		installation string
		mutating     bool
		jobType      jobmanager.JobType
		table        jobmanager.Table
		want         string
	}{
		{"shop", true, "flush", jobmanager.Table{Namespace: "app", Name: "events"}, "shop/app.events"},
		{"shop", true, "restore", jobmanager.Table{Namespace: "app", Name: "events"}, "shop/app.events"},
		{"shop", false, "verify", jobmanager.Table{Namespace: "app", Name: "events"}, "shop/verify/app.events"},
		{"shop", false, "cleanup", jobmanager.Table{}, "shop/cleanup"},
		{"a/b", true, "flush", jobmanager.Table{Namespace: "a.b", Name: "c/d"}, "a%2Fb/a%2Eb.c%2Fd"},
		{"shop", true, "flush", jobmanager.Table{Namespace: "verify/app", Name: "é"}, "shop/verify%2Fapp.%C3%A9"},
	} {
		if got := WorkflowID(c.installation, c.mutating, c.jobType, c.table); got != c.want {
			t.Errorf("WorkflowID(%q, %v, %q, %q) = %q, want %q", c.installation, c.mutating, c.jobType, c.table, got, c.want)
		}
	}
}

// TestLongNames shows that ids stay within what SQL stores hold, and apart from each other.
func TestLongNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 31)
	a := WorkflowID(long, true, "flush", jobmanager.Table{Namespace: long, Name: long + "a"})
	b := WorkflowID(long, true, "flush", jobmanager.Table{Namespace: long, Name: long + "b"})
	if len(a) > maxName || len(b) > maxName {
		t.Errorf("ids of %d and %d bytes, want at most %d", len(a), len(b), maxName)
	}
	if a == b {
		t.Errorf("two tables share the id %q", a)
	}
	if k := Keyword(strings.Repeat("é", 300)); len(k) > maxName || !utf8.ValidString(k) {
		t.Errorf("keyword %q has %d bytes, valid UTF-8: %v", k, len(k), utf8.ValidString(k))
	}
}

func TestTaskQueues(t *testing.T) {
	t.Parallel()
	if got, want := TaskQueue("my shop"), "my%20shop"; got != want {
		t.Errorf("TaskQueue = %q, want %q", got, want)
	}
	if got, want := ChunkTaskQueue(TaskQueue("shop")), "shop/chunks"; got != want {
		t.Errorf("ChunkTaskQueue = %q, want %q", got, want)
	}
}

func TestJobID(t *testing.T) {
	t.Parallel()
	const run = "0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"
	got := JobID("flush", jobmanager.Table{Namespace: "app", Name: "e v"}, run)
	if want := "flush:app.e%20v:" + run; got != want {
		t.Errorf("JobID = %q, want %q", got, want)
	}
	if _, err := jobmanager.ParseJobID(got); err != nil {
		t.Errorf("ParseJobID: %v", err)
	}
}

// TestSearchAttributeLimits holds the list within what a namespace on SQL allows.
func TestSearchAttributeLimits(t *testing.T) {
	t.Parallel()
	count := map[enumspb.IndexedValueType]int{}
	for _, typ := range SearchAttributes() {
		count[typ]++
	}
	for typ, n := range count {
		limit := 3
		if typ == enumspb.INDEXED_VALUE_TYPE_KEYWORD {
			limit = 10
		}
		if n > limit {
			t.Errorf("%d search attributes of type %s, want at most %d", n, typ, limit)
		}
	}
}

// TestActivityNames ties the names that histories hold to the methods that answer to them.
func TestActivityNames(t *testing.T) {
	t.Parallel()
	typ := reflect.TypeFor[*activities.Activities]()
	for name, want := range map[string]Phase{
		planActivity: PhasePlanning, chunkActivity: PhaseMoving, residueActivity: PhaseResidue, publishActivity: PhasePublishing, vacuumActivity: PhaseVacuuming,
		"SweepAttempts": PhaseFinishing, "FinishJob": PhaseFinishing, loadActivity: "",
	} {
		if _, ok := typ.MethodByName(name); !ok {
			t.Errorf("no activity %s", name)
		}
		if got, chunk := PhaseOf(name); got != want || chunk != (name == chunkActivity) {
			t.Errorf("PhaseOf(%s) = %s, %v", name, got, chunk)
		}
	}
}
