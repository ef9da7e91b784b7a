package docs

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The tables of docs/reliability.md that stand between markers are made from what was really run: tests/torture/results. `make
// docs` writes them.
func TestReliability(t *testing.T) {
	t.Parallel()
	const page = "docs/reliability.md"
	text := read(t, page)
	for name, table := range map[string]string{"torture": tortureTable(t), "network": networkTable(t), "soak": soakTable(t)} {
		begin, end := "<!-- "+name+": made by make docs -->\n", "<!-- /"+name+" -->"
		before, rest, ok := strings.Cut(text, begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("%s has no markers %q and %q", page, begin, end)
		}
		text = before + begin + "\n" + table + "\n" + end + after
	}
	if text == read(t, page) {
		return
	}
	if !*update {
		t.Errorf("%s does not say what tests/torture/results says: run make docs", page)
		return
	}
	if err := os.WriteFile(filepath.Join(root, page), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// results reads the lines of a file of results.
func results[T any](t *testing.T, name string) (list []T) {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "tests/torture/results", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		list = append(list, v)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

type tortureRun struct {
	Aim             string
	Seconds         int64
	Rounds          int64
	Moved           int64 `json:"rows_moved"`
	Restored        int64 `json:"rows_restored"`
	Judged          int64 `json:"rows_judged"`
	Losses, Doubles int64
	Failures        []string
	Counts          map[string]int64
}

// injected says how each fault of the torture is done, by the name under which it is counted.
var injected = [][2]string{
	{"kill -9 worker", "SIGKILL, most of them sought while a chunk's transaction is open"},
	{"kill -9 temporal", "SIGKILL of the process with the Temporal server"},
	{"kill -9 front", "SIGKILL of the front-end"},
	{"kill -9 postgres", "SIGKILL of PostgreSQL's first process"},
	{"kill -9 backend", "SIGKILL of the backend that moves a chunk"},
	{"pg_ctl stop -m immediate", "SIGQUIT to PostgreSQL's first process"},
	{"SIGSTOP", "a worker frozen for 2.5 to 5.5 s with a heartbeat timeout of 2 s, or the Temporal server for less, then SIGCONT"},
	{"COMMIT: cut before COMMIT", "the proxy cuts in place of passing COMMIT on"},
	{"COMMIT: COMMIT passed, client cut", "the proxy passes COMMIT on and resets the worker's half"},
	{"COMMIT: COMMIT passed, both cut", "the same, both halves"},
	{"COMMIT: answer swallowed", "the proxy keeps the answer for itself, and cuts seconds later"},
	{"COMMIT: COMMIT held back", "the proxy passes COMMIT on 3 s late"},
	{"cut", "all connections of a link reset"},
	{"half-close", "one direction of all connections of a link closed"},
	{"slow network", "a link with up to 30 ms of delay and 20 to 420 kB/s"},
	{"silent network", "a link that passes nothing for 0.5 to 5 s"},
	{"full disks", "a file fills the storage's small disk"},
	{"read-only disk", "the storage's disk is remounted read-only"},
	{"bucket away", "connections to the bucket are refused and cut"},
}

func tortureTable(t *testing.T) string {
	t.Helper()
	byAim := map[string]*tortureRun{}
	runs, counts := map[string]int{}, map[string]int64{}
	for _, r := range results[tortureRun](t, "runs.jsonl") {
		for _, aim := range []string{r.Aim, "\xffsum"} {
			a := byAim[aim]
			if a == nil {
				a = &tortureRun{}
				byAim[aim] = a
			}
			runs[aim]++
			a.Seconds, a.Rounds, a.Moved, a.Restored, a.Judged = a.Seconds+r.Seconds, a.Rounds+r.Rounds, a.Moved+r.Moved, a.Restored+r.Restored, a.Judged+r.Judged
			a.Losses, a.Doubles, a.Failures = a.Losses+r.Losses, a.Doubles+r.Doubles, append(a.Failures, r.Failures...)
		}
		for k, n := range r.Counts {
			counts[k] += n
		}
	}
	var b strings.Builder
	b.WriteString("| aim | runs | rounds | minutes | rows moved | rows restored | rows compared | rows lost | rows doubled | other failures |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, aim := range slices.Sorted(maps.Keys(byAim)) {
		a := byAim[aim]
		others := 0
		for _, f := range a.Failures {
			if !strings.Contains(f, "rows lost") {
				others++
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d |\n", strings.TrimPrefix(aim, "\xff"), runs[aim], a.Rounds, a.Seconds/60, a.Moved, a.Restored, a.Judged,
			a.Losses, a.Doubles, others)
	}
	b.WriteString("\n| fault | how it is injected | times |\n|---|---|---|\n")
	for _, f := range injected {
		fmt.Fprintf(&b, "| %s | %s | %d |\n", f[0], f[1], counts[f[0]])
	}
	fmt.Fprintf(&b, "\nIn these runs clients wrote %d rows, got no answer to %d statements, and added hot and cold in one snapshot %d times.\n",
		counts["writes"], counts["unanswered"], counts["sums"])
	return b.String()
}

func networkTable(t *testing.T) string {
	t.Helper()
	type outcome struct {
		Case, Injected  string
		Moved           int64
		Losses, Doubles int
	}
	type run struct{ Cases []outcome }
	var order []string
	sums, runs := map[string]*outcome{}, map[string]int{}
	for _, r := range results[run](t, "network.jsonl") {
		for _, c := range r.Cases {
			key := c.Case + "\x00" + c.Injected
			s := sums[key]
			if s == nil {
				s = &outcome{Case: c.Case, Injected: c.Injected}
				sums[key] = s
				order = append(order, key)
			}
			runs[key]++
			s.Moved, s.Losses, s.Doubles = s.Moved+c.Moved, s.Losses+c.Losses, s.Doubles+c.Doubles
		}
	}
	var b strings.Builder
	b.WriteString("| link | fault | runs | rows moved under it | rows lost | rows doubled |\n|---|---|---|---|---|---|\n")
	for _, key := range order {
		s := sums[key]
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d |\n", s.Case, s.Injected, runs[key], s.Moved, s.Losses, s.Doubles)
	}
	return b.String()
}

func soakTable(t *testing.T) string {
	t.Helper()
	type figure struct {
		Figure      string
		First, Last float64
		Mean        float64 `json:"mean_of_second_half"`
		Slope       float64 `json:"slope_per_hour"`
	}
	type run struct {
		Minutes    float64
		Jobs, Rows int64
		Samples    int
		Figures    []figure
		Grew       []string
	}
	all := results[run](t, "soak.jsonl")
	var b strings.Builder
	b.WriteString("| minutes | jobs | rows | samples | what grew |\n|---|---|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(&b, "| %.0f | %d | %d | %d | %s |\n", r.Minutes, r.Jobs, r.Rows, r.Samples, cmp.Or(strings.Join(r.Grew, "; "), "nothing"))
	}
	b.WriteString("\nThe last of them:\n\n| figure | first | mean of the second half | last | slope of the second half, per hour |\n|---|---|---|---|---|\n")
	for _, f := range all[len(all)-1].Figures {
		fmt.Fprintf(&b, "| %s | %.1f | %.1f | %.1f | %+.1f |\n", f.Figure, f.First, f.Mean, f.Last, f.Slope)
	}
	return b.String()
}
