package jobmanager

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// A50: ids carry the type and parse back, whatever the table is called.
func TestJobIDRoundTrip(t *testing.T) {
	t.Parallel()
	for _, table := range []Table{{}, {"app", "events"}, {"Ä pp", `we"ird`}, {"a.b", "c:d"}, {"%41", "%"}, {"x", "\x00\xff"}, {"..", "/"}} {
		id := JobID{Type: "flush", Table: table, UUID: uuid.New()}
		text := id.String()
		if strings.ContainsAny(text, " \"/\x00") {
			t.Errorf("%q is not safe to put in a path", text)
		}
		if back, err := ParseJobID(text); err != nil || back != id {
			t.Errorf("%q parses as %+v, %v", text, back, err)
		}
	}
}

// A27: each kind of malformed id says what is wrong.
func TestMalformedJobID(t *testing.T) {
	t.Parallel()
	const u = "0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"
	for text, want := range map[string]string{
		"":                                       "expected <type>",
		"flush":                                  "expected <type>",
		"flush:app.events":                       "expected <type>",
		":app.events:" + u:                       "lower-case",
		"Flush:app.events:" + u:                  "lower-case",
		"flush:events:" + u:                      "<namespace>.<table>",
		"cleanup:.:" + u:                         "namespace: empty",
		"cleanup:" + u:                           "expected <type>",
		"cleanup:::" + u:                         "uuid",
		"flush:.events:" + u:                     "namespace: empty",
		"flush:app.:" + u:                        "table: empty",
		"flush:app.%4:" + u:                      "cut off",
		"flush:app.%zz:" + u:                     "hexadecimal",
		"flush:app.%41:" + u:                     "canonical",
		"flush:app.events:1234":                  "uuid",
		"flush:app.events:" + u + "x":            "uuid",
		"flush:app.events:" + strings.ToUpper(u): "canonical",
	} {
		_, err := ParseJobID(text)
		var bad *IDError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseJobID(%q): %v, want an IDError with %q", text, err, want)
		}
	}
}

func FuzzParseJobID(f *testing.F) {
	f.Add("flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f")
	f.Add("cleanup::0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f")
	f.Add("flush:a%2Eb.%25:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f")
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := ParseJobID(text); err == nil && id.String() != text {
			t.Errorf("%q parses as an id that prints as %q", text, id)
		}
	})
}

// A6 A62: two specs are the same request exactly if type, table and parameters are.
func TestCanonicalSpec(t *testing.T) {
	t.Parallel()
	base := JobSpec{Type: "flush", Table: Table{"app", "t"}, Params: map[string]string{"a": "1", "b": "2"}}
	same := base
	same.RequestedBy, same.Statement, same.Trigger, same.Schedule = "somebody", "flush table app.t", TriggerPolicy, "nightly"
	if same.Canonical() != base.Canonical() {
		t.Error("who asks, and how, changes the canonical form")
	}
	for name, other := range map[string]JobSpec{
		"type":       {Type: "verify", Table: base.Table, Params: base.Params},
		"table":      {Type: "flush", Table: Table{"app", "u"}, Params: base.Params},
		"fewer":      {Type: "flush", Table: base.Table, Params: map[string]string{"a": "1"}},
		"value":      {Type: "flush", Table: base.Table, Params: map[string]string{"a": "1", "b": "3"}},
		"forged":     {Type: "flush", Table: base.Table, Params: map[string]string{"a": `1" "b"="2`}},
		"namespace":  {Type: "flush", Table: Table{`app" "t`, ""}, Params: base.Params},
		"other name": {Type: "flush", Table: base.Table, Params: map[string]string{"a": "1", "c": "2"}},
	} {
		if other.Canonical() == base.Canonical() {
			t.Errorf("%s: another request has the same canonical form %s", name, base.Canonical())
		}
	}
}

// A33
func TestTerminalIsFinal(t *testing.T) {
	t.Parallel()
	for _, from := range Statuses {
		for _, to := range Statuses {
			if from.Terminal() && from.CanBecome(to) {
				t.Errorf("%s can become %s", from, to)
			}
			if from == to && from.CanBecome(to) {
				t.Errorf("%s can become itself", from)
			}
		}
		if back, err := ParseStatus(string(from)); err != nil || back != from {
			t.Errorf("%s parses as %s, %v", from, back, err)
		}
	}
	if _, err := ParseStatus("canceled"); err == nil {
		t.Error("canceled with one l is taken for a status")
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	ten := int64(10)
	for _, c := range []struct {
		job  JobInfo
		want float64
	}{
		{JobInfo{Status: Pending}, 0},
		{JobInfo{Status: Running, ChunksDone: 5, ChunksTotal: &ten}, 0.5},
		{JobInfo{Status: Running, ChunksDone: 12, ChunksTotal: &ten}, 1},
		{JobInfo{Status: Cancelled, ChunksDone: 5, ChunksTotal: &ten}, 0.5},
		{JobInfo{Status: Completed}, 1},
	} {
		if got := c.job.Progress(); got != c.want {
			t.Errorf("%s with %d chunks: %v, want %v", c.job.Status, c.job.ChunksDone, got, c.want)
		}
	}
}

// A job without a table is named without one.
func TestBusyWithoutTable(t *testing.T) {
	t.Parallel()
	id := JobID{Type: "cleanup", UUID: uuid.MustParse("0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f")}
	if got, want := (&BusyError{Running: id}).Error(), `job "cleanup::0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f" is running, which was asked for something else`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := id.Table.String(); got != "" || !id.Table.IsZero() {
		t.Errorf("no table is called %q", got)
	}
}
