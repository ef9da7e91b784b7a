package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/filelock"
)

const defaultDataDir = "./spillway-data"

// upFile is <data-dir>/up.json: how clients find a running `spillway up`. It can hold the password of a private
// PostgreSQL, so that only its owner may read it.
type upFile struct {
	PID             int       `json:"pid"`
	Version         string    `json:"version"`
	StartedAt       time.Time `json:"started_at"`
	SQLURL          string    `json:"sql_url"`
	WorkerURL       string    `json:"worker_url,omitempty"` // of a private PostgreSQL only
	Storage         string    `json:"storage"`
	TemporalAddress string    `json:"temporal_address"`
	Namespace       string    `json:"temporal_namespace"`
	UIURL           string    `json:"ui_url,omitempty"`
	MetricsURL      string    `json:"metrics_url,omitempty"`
}

func upFilePath(dataDir string) string { return filepath.Join(dataDir, "up.json") }

// write puts the file in place in one step, readable by its owner alone.
func (u *upFile) write(dataDir string) error {
	text, err := json.MarshalIndent(u, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dataDir, ".up-*.json") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // after the rename there is nothing to remove
	if _, err := tmp.Write(append(text, '\n')); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), upFilePath(dataDir))
}

// findUp reads the up.json of a process that lives. The error is *fail.Unreachable.
func findUp(dataDir string) (*upFile, error) {
	advice := "start one with `spillway up`, or give --sql-url (or --data-dir) of a running one"
	text, err := os.ReadFile(upFilePath(dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &fail.Unreachable{What: "no running spillway found in " + dataDir, Todo: advice}
	} else if err != nil {
		return nil, &fail.Unreachable{What: "no running spillway found", Err: err, Todo: advice}
	}
	var u upFile
	if err := json.Unmarshal(text, &u); err != nil {
		return nil, &fail.Unreachable{What: "cannot read " + upFilePath(dataDir), Err: err, Todo: advice}
	}
	if !alive(u.PID) {
		return nil, &fail.Unreachable{
			What: fmt.Sprintf("the spillway of %s (process %d) is gone without a goodbye", dataDir, u.PID),
			Todo: "start it again with `spillway up`: its jobs go on where they stood",
		}
	}
	return &u, nil
}

// alive reports whether a process with this id exists.
func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// lockDataDir makes sure that one process at a time runs on a data directory. The lock goes with the process, however
// that ends.
func lockDataDir(dataDir string) (*filelock.Lock, error) {
	advice := "choose a directory that you may write to with --data-dir"
	if err := os.MkdirAll(dataDir, 0o755); err != nil {
		return nil, fail.Hint(fmt.Errorf("data directory: %w", err), "%s", advice)
	}
	lock, err := filelock.Acquire(filepath.Join(dataDir, "up.lock"))
	var held *filelock.HeldError
	switch {
	case errors.As(err, &held):
		return nil, fail.Hint(fmt.Errorf("another spillway (process %d) is running on the data directory %s", held.PID, dataDir),
			"stop it first, or give this one its own --data-dir")
	case err != nil:
		return nil, fail.Hint(fmt.Errorf("data directory: %w", err), "%s", advice)
	}
	return lock, nil
}
