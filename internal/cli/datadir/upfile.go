package datadir

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
)

// Default is the data directory where none is named.
const Default = "./spillway-data"

// Up is <data-dir>/up.json: how clients find a running `spillway up`. It can hold the password of a private
// PostgreSQL, so that only its owner may read it.
type Up struct {
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

// UpPath is where up.json is.
func UpPath(dataDir string) string { return filepath.Join(dataDir, "up.json") }

// Write puts the file in place in one step, readable by its owner alone.
func (u *Up) Write(dataDir string) error {
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
	return os.Rename(tmp.Name(), UpPath(dataDir))
}

// FindUp reads the up.json of a process that lives. The error is *fail.Unreachable.
func FindUp(dataDir string) (*Up, error) {
	advice := "start one with `spillway up`, or give --sql-url (or --data-dir) of a running one"
	text, err := os.ReadFile(UpPath(dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &fail.Unreachable{What: "no running spillway found in " + dataDir, Todo: advice}
	} else if err != nil {
		return nil, &fail.Unreachable{What: "no running spillway found", Err: err, Todo: advice}
	}
	var u Up
	if err := json.Unmarshal(text, &u); err != nil {
		return nil, &fail.Unreachable{What: "cannot read " + UpPath(dataDir), Err: err, Todo: advice}
	}
	if !Alive(u.PID) {
		return nil, &fail.Unreachable{
			What: fmt.Sprintf("the spillway of %s (process %d) is gone without a goodbye", dataDir, u.PID),
			Todo: "start it again with `spillway up`: its jobs go on where they stood",
		}
	}
	return &u, nil
}

// Alive reports whether a process with this id exists.
func Alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
