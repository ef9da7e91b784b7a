package sqlfront

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// Workers knows the processes that do the jobs' work.
type Workers interface {
	// Workers lists them. An empty list means that there are none: who cannot tell returns an error.
	Workers(ctx context.Context) ([]Worker, error)
}

// Worker is one row of system.workers. Pointers and empty texts are NULL: not known. The names of the fields are the columns.
type Worker struct {
	Identity   string     `json:"identity,omitempty"`
	Host       string     `json:"host,omitempty"`
	PID        string     `json:"pid,omitempty"`
	TaskQueue  string     `json:"task_queue,omitempty"`
	Status     string     `json:"status,omitempty"`
	SlotsUsed  *int64     `json:"slots_used,omitempty"`
	SlotsTotal *int64     `json:"slots_total,omitempty"`
	Version    string     `json:"version,omitempty"`
	StartedAt  *time.Time `json:"started_at,omitempty"`
	LastSeenAt *time.Time `json:"last_seen_at,omitempty"`
}

// liveWorkers renders the workers as a JSON array.
func (f *Front) liveWorkers(ctx context.Context, _ *parse.Narrowing) (string, error) {
	if f.opt.Workers == nil {
		return "", &pgwire.Error{Code: codeNotSupported, Message: fmt.Sprintf("%s.workers is not available on this front-end", f.opt.SystemSchema)}
	}
	list, err := f.opt.Workers.Workers(ctx)
	if err != nil {
		return "", err
	}
	clean := make([]Worker, len(list))
	for i, w := range list {
		for _, s := range []*string{&w.Identity, &w.Host, &w.PID, &w.TaskQueue, &w.Status, &w.Version} {
			*s = strings.ReplaceAll(*s, "\x00", "") // PostgreSQL's text has no place for it
		}
		clean[i] = w
	}
	text, err := json.Marshal(clean)
	if err != nil {
		return "", fmt.Errorf("render workers: %w", err)
	}
	if len(text) > f.opt.LiveLimit {
		return "", &pgwire.Error{Code: codeTooLarge, Message: fmt.Sprintf("%d workers do not fit into %s.workers", len(list), f.opt.SystemSchema),
			Hint: "the Web UI of Temporal lists them"}
	}
	return string(text), nil
}
