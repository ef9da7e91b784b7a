package sqlfront_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/jobmanager"
)

// pausableJobs can pause its jobs.
type pausableJobs struct{ *jobs }

func (m pausableJobs) PauseJob(_ context.Context, id jobmanager.JobID) error {
	return m.turn(id, jobmanager.Pausing)
}

func (m pausableJobs) ResumeJob(_ context.Context, id jobmanager.JobID) error {
	return m.turn(id, jobmanager.Running)
}

func (m pausableJobs) turn(id jobmanager.JobID, to jobmanager.Status) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.find(id)
	switch {
	case m.fail != nil:
		return m.fail
	case j == nil:
		return fmt.Errorf("%w: %q", jobmanager.ErrJobNotFound, id)
	case j.Status.Terminal():
		return &jobmanager.FinishedError{ID: id, Status: j.Status}
	case j.Status != jobmanager.Cancelling:
		j.Status = to
	}
	return nil
}

func newPausableWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, nil, func(j *jobs) jobmanager.JobManager { return pausableJobs{j} })
}

func TestPauseAndResume(t *testing.T) { // A27, A30
	t.Parallel()
	for name, mode := range bothProtocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newPausableWorld(t)
			w.Exec(t, "CREATE TABLE app.events (id bigint)")
			conn := w.through(t, w.OwnerURL, mode)
			started, err := start(t.Context(), conn, "FLUSH TABLE app.events")
			if err != nil {
				t.Fatal(err)
			}
			id := *started[0].JobID
			change := func(verb, want string) {
				t.Helper()
				for _, c := range []struct {
					sql  string
					args []any
				}{{verb + " JOB '" + id + "'", nil}, {verb + " JOB $1", []any{id}}} {
					if c.args != nil && mode == pgx.QueryExecModeSimpleProtocol {
						continue // a client that knows no parameters
					}
					var gotID, status string
					if err := conn.QueryRow(t.Context(), c.sql, c.args...).Scan(&gotID, &status); err != nil || gotID != id || status != want {
						t.Errorf("%s: %s %s %v; want %s", c.sql, gotID, status, err, want)
					}
					if a := w.catalog.lastAudit(); a.Outcome != want || a.JobID != id || a.User != w.Owner || !strings.HasPrefix(a.Statement, verb) {
						t.Errorf("audit: %+v", a)
					}
				}
			}
			change("PAUSE", "pausing")
			w.jobs.set(func(j *jobmanager.JobInfo) { j.Status = jobmanager.Paused })
			change("RESUME", "running")
			change("RESUME", "running")
			w.jobs.set(func(j *jobmanager.JobInfo) { j.Status = jobmanager.Cancelling })
			change("PAUSE", "cancelling") // the cancel wins
			change("RESUME", "cancelling")
		})
	}
}

func TestPauseErrors(t *testing.T) { // A27, A30
	t.Parallel()
	w := newPausableWorld(t)
	w.Exec(t, "CREATE TABLE app.events (id bigint)")
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	started, err := start(t.Context(), conn, "FLUSH TABLE app.events")
	if err != nil {
		t.Fatal(err)
	}
	id := *started[0].JobID
	w.jobs.endAll()
	unknown := "flush:app.events:" + uuid.NewString()
	for _, verb := range []string{"PAUSE", "RESUME"} {
		for _, c := range []struct{ job, code, message string }{
			{"'nonsense'", "22023", "malformed job id"},
			{"'" + unknown + "'", "42704", `job "` + unknown + `" not found`},
			{"'" + id + "'", "55000", "already finished with status completed"},
		} {
			err := exec(t, conn, verb+" JOB "+c.job)
			pe := pgError(t, err)
			if pe.Code != c.code || !strings.Contains(pe.Message, c.message) || int(pe.Position) != len(verb+" JOB ")+1 {
				t.Errorf("%s JOB %s: %+v", verb, c.job, pe)
			}
			if a := w.catalog.lastAudit(); c.code != "22023" && a.Outcome != c.code {
				t.Errorf("%s JOB %s: audit %+v", verb, c.job, a)
			}
		}
		if pe := pgError(t, exec(t, conn, verb+" JOB $1", nil)); pe.Code != "22004" {
			t.Errorf("%s of NULL: %+v", verb, pe)
		}
	}
	w.jobs.fail = fmt.Errorf("no worker: %w", jobmanager.ErrUnavailable)
	if pe := pgError(t, exec(t, conn, "PAUSE JOB '"+id+"'")); pe.Code != "57P03" {
		t.Errorf("%+v", pe)
	}
}

func TestPauseTakesTheOwner(t *testing.T) {
	t.Parallel()
	w := newPausableWorld(t)
	w.Exec(t, "CREATE TABLE app.events (id bigint)")
	started, err := start(t.Context(), w.through(t, w.OwnerURL, pgx.QueryExecModeExec), "FLUSH TABLE app.events")
	if err != nil {
		t.Fatal(err)
	}
	name, direct := w.user(t, "stranger")
	stranger := w.through(t, direct, pgx.QueryExecModeExec)
	for _, verb := range []string{"PAUSE", "RESUME"} {
		if pe := pgError(t, exec(t, stranger, verb+" JOB '"+*started[0].JobID+"'")); pe.Code != "42501" {
			t.Errorf("%s: %+v", verb, pe)
		}
		if a := w.catalog.lastAudit(); a.Outcome != "42501" || a.User != name {
			t.Errorf("%s: audit %+v", verb, a)
		}
	}
	super := w.through(t, w.SuperURL, pgx.QueryExecModeExec)
	if err := exec(t, super, "PAUSE JOB '"+*started[0].JobID+"'"); err != nil {
		t.Error(err)
	}
}

func TestManagerThatCannotPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.events (id bigint)")
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	started, err := start(t.Context(), conn, "FLUSH TABLE app.events")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"PAUSE", "RESUME"} {
		pe := pgError(t, exec(t, conn, verb+" JOB '"+*started[0].JobID+"'"))
		if pe.Code != "0A000" || !strings.Contains(pe.Message, "cannot "+strings.ToLower(verb)) || pe.Hint == "" {
			t.Errorf("%s: %+v", verb, pe)
		}
	}
}
