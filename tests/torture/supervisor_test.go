package torture

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// unit is a process that is started again whenever it ends, as an operator's service manager would do.
type unit struct {
	t       testing.TB
	name    string
	args    []string
	metrics string // address
	logs    string // folder; one file for each start

	mu      sync.Mutex
	cmd     *exec.Cmd
	wanted  bool
	live    bool
	starts  int
	stopped chan struct{}
}

const startAgain = 150 * time.Millisecond // after an end

// supervise starts a process and keeps it running until the test ends.
func supervise(t testing.TB, name, logs, metrics string, args ...string) *unit {
	u := &unit{t: t, name: name, args: args, metrics: metrics, logs: logs, wanted: true, stopped: make(chan struct{})}
	go u.loop()
	t.Cleanup(u.end)
	return u
}

func (u *unit) loop() {
	defer close(u.stopped)
	for {
		u.mu.Lock()
		if !u.wanted {
			u.mu.Unlock()
			return
		}
		u.starts++
		log := filepath.Join(u.logs, fmt.Sprintf("%s-%04d.log", u.name, u.starts))
		cmd, err := u.start(log)
		u.cmd, u.live = cmd, err == nil
		u.mu.Unlock()
		if err != nil {
			u.t.Errorf("start %s: %v", u.name, err)
			return
		}
		_ = cmd.Wait() // how it ended is read below
		u.mu.Lock()
		u.live = false
		u.mu.Unlock()
		u.look(log, cmd.ProcessState)
		time.Sleep(startAgain) // no event: this is the service manager's pause
	}
}

func (u *unit) start(log string) (*exec.Cmd, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(binary, u.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = u.logs, f, f
	return cmd, cmd.Start()
}

var broken = regexp.MustCompile(`(?m)^(panic: |fatal error: |unexpected fault address|WARNING: DATA RACE).*`)

// look reads what a process that ended has said. Logs of ordinary ends are not kept.
func (u *unit) look(log string, state *os.ProcessState) {
	text, err := os.ReadFile(log)
	if err != nil {
		u.t.Errorf("%s: %v", u.name, err)
		return
	}
	if at := broken.FindIndex(text); at != nil {
		u.t.Errorf("%s (%s) broke: %.2000s", u.name, state, text[at[0]:])
		return
	}
	u.mu.Lock()
	old := filepath.Join(u.logs, fmt.Sprintf("%s-%04d.log", u.name, u.starts-12))
	u.mu.Unlock()
	_ = os.Remove(old) // the last dozen is enough to understand a failure
}

// pid is the process's id now; 0 if there is none.
func (u *unit) pid() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.live {
		return 0
	}
	return u.cmd.Process.Pid
}

// signal sends a signal to the process, if there is one, and says whether there was.
func (u *unit) signal(s syscall.Signal) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.live && u.cmd.Process.Signal(s) == nil
}

// ready says whether the process answers that it is.
func (u *unit) ready() bool {
	c := http.Client{Timeout: 2 * time.Second}
	r, err := c.Get("http://" + u.metrics + "/readyz")
	if err != nil {
		return false
	}
	_ = r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// end kills the process for good.
func (u *unit) end() {
	u.mu.Lock()
	u.wanted = false
	if u.live {
		_ = u.cmd.Process.Kill() // frozen or not; it may be gone
	}
	u.mu.Unlock()
	<-u.stopped
	if u.t.Failed() {
		u.mu.Lock()
		last := filepath.Join(u.logs, fmt.Sprintf("%s-%04d.log", u.name, u.starts))
		u.mu.Unlock()
		text, _ := os.ReadFile(last)
		u.t.Logf("the end of the last log of %s:\n%s", u.name, text[max(0, len(text)-3000):])
	}
}

// vitals are what must not grow in a process that lives on.
type vitals struct {
	pid                      int
	fds                      int
	goroutines, memory, heap int64
}

// vitals reads them; ok is false if the process is not there.
func (u *unit) vitals() (v vitals, ok bool) {
	v.pid = u.pid()
	if v.pid == 0 {
		return v, false
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", v.pid))
	if err != nil {
		return v, false
	}
	v.fds = len(fds)
	text, err := u.get("/metrics")
	if err != nil {
		return v, false
	}
	v.goroutines = metric(text, "go_goroutines")
	v.memory = metric(text, "process_resident_memory_bytes")
	v.heap = metric(text, "go_memstats_heap_inuse_bytes")
	return v, v.goroutines > 0
}

// get asks the process at the address of its metrics; profiles are there with --pprof.
func (u *unit) get(path string) ([]byte, error) {
	c := http.Client{Timeout: 5 * time.Second}
	r, err := c.Get("http://" + u.metrics + path)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, r.Status)
	}
	return io.ReadAll(r.Body)
}

// holds counts what a process has open, by kind, and its goroutines by where they were made: what to read where it grows.
func (u *unit) holds() string {
	kinds := map[string]int{}
	dir := fmt.Sprintf("/proc/%d/fd", u.pid())
	fds, _ := os.ReadDir(dir) // it may have ended
	for _, fd := range fds {
		target, _ := os.Readlink(filepath.Join(dir, fd.Name()))
		kind, _, _ := strings.Cut(target, ":")
		kinds[kind]++
	}
	text, err := u.get("/debug/pprof/goroutine?debug=1")
	if err != nil {
		return fmt.Sprint(kinds)
	}
	text = text[:min(len(text), 20_000)] // the most frequent ones come first
	return fmt.Sprintf("%v\n%s", kinds, text)
}

func metric(text []byte, name string) int64 {
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if m == nil {
		return 0
	}
	f, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		return 0
	}
	return int64(f)
}
