package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// version is what is measured; the Makefile sets it.
var version = "unknown"

// busyShare is the share of the machine's processors that others may take before a run counts as disturbed.
const busyShare = 0.05

// machine says on what was measured, and how much others disturbed it.
type machine struct {
	CPU        string  `json:"cpu"`
	CPUs       int     `json:"cpus"`
	MemoryGB   float64 `json:"memory_gb"`
	Kernel     string  `json:"kernel"`
	PostgreSQL string  `json:"postgresql"`
	Go         string  `json:"go"`
	Commit     string  `json:"commit"`
	// OthersShare is the share of all processors that other processes took during the timed runs: the mean, and that of
	// the worst run. -1 where the system does not tell.
	OthersShare float64 `json:"others_share"`
	OthersWorst float64 `json:"others_worst"`
	Busy        bool    `json:"busy"`

	others, total float64 // processor seconds, of others and of the whole machine
}

func describeMachine(postgres string) *machine {
	m := &machine{
		CPU: field("/proc/cpuinfo", "model name"), CPUs: runtime.NumCPU(), PostgreSQL: postgres, Go: runtime.Version(),
		Kernel: strings.TrimSpace(readFile("/proc/sys/kernel/osrelease")), Commit: version,
	}
	if m.CPU == "" {
		m.CPU = runtime.GOARCH
	}
	if kb, err := strconv.ParseFloat(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		m.MemoryGB = float64(int(kb/1024/1024*10)) / 10
	}
	return m
}

func (m *machine) finish() {
	if m.total == 0 {
		m.OthersShare, m.OthersWorst = -1, -1
		return
	}
	m.OthersShare = min(1, m.others/m.total)
	m.Busy = m.OthersShare > busyShare
}

func (m *machine) String() string {
	s := fmt.Sprintf("%d × %s, %.1f GB, Linux %s, PostgreSQL %s, %s, commit %s", m.CPUs, m.CPU, m.MemoryGB, m.Kernel, m.PostgreSQL, m.Go, m.Commit)
	if m.OthersShare >= 0 {
		s += fmt.Sprintf("\nOther processes took %.0f %% of the processors during the timed runs, %.0f %% in the worst.", 100*m.OthersShare, 100*m.OthersWorst)
		if m.Busy {
			s += " The machine was busy: trust the ratios, not the times."
		}
	}
	return s
}

// watch looks at what the rest of the machine does until stop.
type watch struct {
	m         *machine
	all, ours float64
	ok        bool
}

func (m *machine) watch() *watch {
	w := &watch{m: m}
	w.all, w.ours, w.ok = processorSeconds()
	return w
}

// stop returns the processor seconds that this process and all below it used, PostgreSQL included; 0 if unknown.
func (w *watch) stop(took time.Duration) float64 {
	all, ours, ok := processorSeconds()
	if !ok || !w.ok || took < time.Second { // /proc counts in hundredths
		return 0
	}
	others := max(0, (all-w.all)-(ours-w.ours))
	capacity := took.Seconds() * float64(w.m.CPUs)
	w.m.others += others
	w.m.total += capacity
	w.m.OthersWorst = max(w.m.OthersWorst, min(1, others/capacity))
	return ours - w.ours
}

// clockTick is USER_HZ, which Linux fixes at 100 for what it shows in /proc.
const clockTick = 100

// processorSeconds are those of the whole machine, stolen ones included, and those of this process and all below it.
func processorSeconds() (all, ours float64, ok bool) {
	line, _, _ := strings.Cut(readFile("/proc/stat"), "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, 0, false
	}
	for i, v := range f[1:9] {
		if n, err := strconv.ParseFloat(v, 64); err == nil && i != 3 && i != 4 { // idle, iowait
			all += n / clockTick
		}
	}
	return all, treeSeconds(os.Getpid()), true
}

// treeSeconds adds up a process, the children that it waited for, and its living descendants.
func treeSeconds(root int) float64 {
	type process struct{ parent, ticks int }
	found := map[int]process{}
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		text := readFile(path)
		// The name is in brackets and may hold anything.
		_, rest, ok := cutLast(text, ") ")
		f := strings.Fields(rest)
		if !ok || len(f) < 15 {
			continue
		}
		var p process
		p.parent, _ = strconv.Atoi(f[1])
		for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
			n, _ := strconv.Atoi(f[i])
			p.ticks += n
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		found[pid] = p
	}
	sum := 0
	for pid, p := range found {
		for up, hops := pid, 0; up > 0 && hops < 64; up, hops = found[up].parent, hops+1 {
			if up == root {
				sum += p.ticks
				break
			}
		}
	}
	return float64(sum) / clockTick
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// field is the value of the first line "name: value" of a file, or "".
func field(path, name string) string {
	for line := range strings.Lines(readFile(path)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// readFile is the text of a file of /proc, or "" where there is none: other systems measure without it.
func readFile(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(text))
}
