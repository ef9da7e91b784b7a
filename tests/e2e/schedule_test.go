package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/tests/await"
)

// schedule reads a row of system.schedules.
func (s session) schedule(name string) map[string]any {
	s.t.Helper()
	found := s.rows("SELECT * FROM system.schedules WHERE name = '" + name + "'")
	if len(found) != 1 {
		s.t.Fatalf("%d schedules are called %s", len(found), name)
	}
	return found[0]
}

// ran waits until a schedule has begun n runs at least, and the last one has this status.
func (s session) ran(name string, n int64, status string) map[string]any {
	s.t.Helper()
	var row map[string]any
	await.Until(s.t, fmt.Sprintf("the schedule %s ran %d times and is %s", name, n, status), func() bool {
		row = s.schedule(name)
		return row["runs"].(int64) >= n && row["last_status"] == status
	})
	return row
}

// scheduled lists the jobs of a schedule, oldest first.
func (s session) scheduled(name string) []job {
	s.t.Helper()
	return s.jobs("WHERE trigger = 'schedule' AND schedule = '" + name + "' ORDER BY created_at")
}

// A46: a schedule fires, can be paused, resumed, triggered and dropped; Temporal shows it, and the runs are no jobs.
func TestScheduleLife(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	tb := u.table(t, "timely", 600)
	s := u.owner(t)
	u.db.Super(t, "GRANT USAGE ON SCHEMA system TO "+u.db.Owner, "GRANT SELECT ON ALL TABLES IN SCHEMA system TO "+u.db.Owner)
	s.rows("CREATE SCHEDULE tick FOR FLUSH TABLE app.timely EVERY '1 second' WHERE id % 7 <> 3")
	if row := s.schedule("tick"); row["status"] != "active" || row["every"] != "00:00:01" || row["target"] != "app.timely" || row["created_by"] != u.db.Owner {
		t.Errorf("%v", row)
	}
	s.ran("tick", 2, "completed")
	jobs := s.scheduled("tick")
	if len(jobs) < 2 || jobs[0].Status != "completed" || jobs[0].Rows == 0 || tb.hot() == 0 || len(s.jobs("WHERE schedule IS NULL")) != 0 {
		t.Errorf("%d rows hot, jobs %+v", tb.hot(), jobs)
	}

	s.rows("PAUSE SCHEDULE tick")
	if row := s.schedule("tick"); row["status"] != "paused" || row["next_run_at"] != nil || row["paused_by"] != u.db.Owner {
		t.Errorf("paused: %v", row)
	}
	c, err := sdk.Dial(sdk.Options{HostPort: u.info.TemporalAddress, Namespace: u.info.Namespace})
	must(t, err)
	defer c.Close()
	id := temporalScheduleID(t, u, "tick")
	var d *sdk.ScheduleDescription
	await.Until(t, "the run under way has ended", func() bool { // it may not have said yet that it has begun, and a run beside it is skipped
		d, err = c.ScheduleClient().GetHandle(t.Context(), id).Describe(t.Context())
		must(t, err)
		row := s.schedule("tick")
		return len(d.Info.RunningWorkflows) == 0 && row["runs"] == int64(d.Info.NumActions) && row["last_status"] == "completed"
	})
	if !d.Schedule.State.Paused || !strings.Contains(d.Schedule.State.Note, u.db.Owner) || strings.Contains(d.Schedule.Action.(*sdk.ScheduleWorkflowAction).StaticSummary, "%") {
		t.Errorf("Temporal has %+v", d.Schedule)
	}
	before := s.schedule("tick")["runs"].(int64)
	s.rows("TRIGGER SCHEDULE tick") // a paused one too
	s.ran("tick", before+1, "completed")
	s.rows("BACKFILL SCHEDULE tick FROM '2026-01-01 00:00:00Z' TO '2026-01-01 00:00:02Z'")
	s.ran("tick", before+4, "completed")
	if runs := s.schedule("tick")["runs"].(int64); runs != before+4 {
		t.Errorf("%d runs, want one triggered and three made up for", runs-before)
	}
	s.rows("RESUME SCHEDULE tick")
	s.ran("tick", before+5, "completed")
	s.rows("DROP SCHEDULE tick")
	if n := len(s.rows("SHOW SCHEDULES")); n != 0 {
		t.Errorf("%d schedules are left", n)
	}
	if _, err := c.ScheduleClient().GetHandle(t.Context(), id).Describe(t.Context()); err == nil {
		t.Error("Temporal still knows the schedule")
	}
	if e := s.refused("TRIGGER SCHEDULE tick"); e.Code != "42704" || e.Hint != "SHOW SCHEDULES lists them" || e.Position == 0 {
		t.Errorf("%+v", e)
	}
	u.Terminate()
}

// temporalScheduleID reads a schedule's id out of the address of its page.
func temporalScheduleID(t testing.TB, u *up, name string) string {
	t.Helper()
	return u.super(t).rows("SELECT temporal_id FROM spillway.schedules WHERE name = '" + name + "'")[0]["temporal_id"].(string)
}

// A46: what happens at a time when the run before has not ended is what the schedule says; two schedules of one table wait for
// each other.
func TestScheduleOverlap(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	tb := u.table(t, "busy", 600)
	g := tb.gate("OLD.id >= 300")
	s := u.super(t)
	for _, overlap := range []string{"skip", "buffer_one", "allow"} {
		s.rows("CREATE SCHEDULE " + overlap + " FOR FLUSH TABLE app.busy WITH (triggers = fire) EVERY '1000 days' WITH (overlap = " + overlap + ")")
	}
	for name, runs := range map[string]int64{"skip": 1, "buffer_one": 1, "allow": 3} {
		for n := range int64(3) {
			s.rows("TRIGGER SCHEDULE " + name)
			s.ran(name, min(n+1, runs), "running")
			second := time.Now().Unix() // two runs of one second have the same name in Temporal, and are one
			await.Until(t, "the next second has come", func() bool { return time.Now().Unix() > second })
		}
	}
	skipped := func() int64 { return s.rows("SHOW SCHEDULE skip")[0]["skipped"].(int64) }
	await.Until(t, "two times are skipped", func() bool { return skipped() == 2 })
	if n := len(s.jobs("WHERE status <> 'completed'")); n != 1 {
		t.Errorf("%d jobs of one table live", n)
	}
	other := "CREATE SCHEDULE other FOR FLUSH TABLE app.busy WITH (triggers = fire) EVERY '1000 days' WHERE id > 0"
	s.rows(other)
	s.rows("TRIGGER SCHEDULE other")
	s.ran("other", 1, "running")
	if n := len(s.scheduled("other")); n != 0 {
		t.Errorf("%d jobs did not wait for their turn", n)
	}
	g.open()
	s.ran("other", 1, "completed")
	s.ran("skip", 1, "completed")
	s.ran("buffer_one", 2, "completed")
	s.ran("allow", 3, "completed")
	if row := s.rows("SHOW SCHEDULE skip")[0]; row["runs"].(int64) != 1 || tb.hot() != 0 || len(s.scheduled("other")) != 1 {
		t.Errorf("%v; %d rows hot", row, tb.hot())
	}
	u.Terminate()
}

// A46: a run that fails pauses its schedule if it is to; a job that is killed does not. Rights are asked for again at each run.
func TestScheduleFailure(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	u.table(t, "gone", 10)
	killed := u.table(t, "killed", 600)
	g := killed.gate("OLD.id >= 300")
	s, owner := u.super(t), u.owner(t)
	u.db.Super(t, "CREATE TABLE app.mine (id int)", "ALTER TABLE app.mine OWNER TO "+u.db.Owner)
	owner.rows("CREATE SCHEDULE mine FOR VERIFY TABLE app.mine EVERY '1000 days'")
	owner.rows("TRIGGER SCHEDULE mine")
	s.ran("mine", 1, "completed")
	if e := owner.refused("CREATE SCHEDULE all_of_them FOR FLUSH ALL EVERY '1 day'"); e.Code != "42501" || e.Position == 0 {
		t.Errorf("%+v", e)
	}
	s.rows("CREATE SCHEDULE gone FOR FLUSH TABLE app.gone EVERY '1 second' WITH (pause_on_failure = true, paused = true)")
	if e := owner.refused("DROP SCHEDULE gone"); e.Code != "42501" {
		t.Errorf("%+v", e)
	}
	u.db.Super(t, "ALTER TABLE app.mine OWNER TO CURRENT_USER", "ALTER TABLE app.gone RENAME TO hidden")
	s.rows("TRIGGER SCHEDULE mine")
	if row := s.ran("mine", 2, "failed"); !strings.Contains(fmt.Sprintf("%v", row["last_error"]), "not owner") || row["status"] != "active" {
		t.Errorf("%v", row)
	}
	s.rows("RESUME SCHEDULE gone")
	s.ran("gone", 1, "failed")
	await.Until(t, "the schedule has paused itself", func() bool { return s.rows("SHOW SCHEDULE gone")[0]["status"] == "paused" })
	if row := s.rows("SHOW SCHEDULE gone")[0]; !strings.Contains(fmt.Sprintf("%v", row["note"]), "missing_table") || strings.Contains(fmt.Sprintf("%v", row["note"]), "app.gone") {
		t.Errorf("%v", row)
	}

	u.db.Super(t, "ALTER TABLE app.hidden RENAME TO gone")

	s.rows("CREATE SCHEDULE killed FOR FLUSH TABLE app.killed WITH (triggers = fire) EVERY '1000 days' WITH (pause_on_failure = true)")
	s.rows("TRIGGER SCHEDULE killed")
	var id string
	await.Until(t, "the job has started", func() bool {
		for _, j := range s.scheduled("killed") {
			id = j.ID
		}
		return id != ""
	})
	g.held(id, 1)
	s.rows("KILL JOB '" + id + "'")
	if row := s.ran("killed", 1, "cancelled"); row["status"] != "active" || row["last_job_id"] != id || row["last_error"] != nil {
		t.Errorf("%v", row)
	}
	g.open()
	u.Terminate()
}

// A46: schedules outlive the process, and Temporal's store. What the ledger does not know, Temporal does not keep.
func TestSchedulesComeBack(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	tb := u.table(t, "again", 600)
	g := tb.gate("OLD.id >= 300")
	s := u.super(t)
	s.rows("CREATE SCHEDULE again FOR FLUSH TABLE app.again WITH (triggers = fire) EVERY '1000 days'")
	s.rows("CREATE SCHEDULE rests FOR CLEANUP CRON '30 2,3 28,29 3 *' TIME ZONE 'Europe/Berlin' WITH (paused = true)")
	times := s.rows("EXPLAIN SCHEDULE rests")
	if len(times) != 10 {
		t.Errorf("%d times", len(times))
	}
	for _, row := range times {
		at := row["at"].(time.Time)
		local := at.In(mustZone(t, "Europe/Berlin"))
		if row["local"] != local.Format("2006-01-02 15:04:05 MST") || local.Minute() != 30 {
			t.Errorf("%v", row)
		}
		// When clocks go forward on 28 March, as in 2027, there is no 02:30.
		if local.Year() == 2027 && local.Day() == 28 && (local.Hour() != 3 || at.UTC().Hour() != 1) {
			t.Errorf("%v", row)
		}
	}

	s.rows("TRIGGER SCHEDULE again")
	s.ran("again", 1, "running")
	id := s.scheduled("again")
	await.Until(t, "the job has started", func() bool { id = s.scheduled("again"); return len(id) == 1 })
	g.held(id[0].ID, 1)
	u.Kill()
	u.start()
	s = u.super(t)
	g.open()
	s.wait(id[0].ID, "completed")
	s.ran("again", 1, "completed") // the next try of the run found the same job
	if n := len(s.scheduled("again")); n != 1 {
		t.Errorf("%d jobs", n)
	}

	u.Terminate()
	must(t, os.RemoveAll(filepath.Join(u.dir, "temporal")))
	// As if a front-end had died between the ledger and Temporal.
	u.db.Super(t, "UPDATE spillway.schedules SET state = 'creating', changed_at = now() - interval '1 hour', created_at = now() - interval '1 hour'")
	u.start()
	s = u.super(t)
	await.Until(t, "both schedules are back", func() bool {
		return s.schedule("again")["status"] == "active" && s.schedule("rests")["status"] == "paused"
	})
	s.rows("TRIGGER SCHEDULE again")
	s.ran("again", 2, "completed")

	u.Terminate()
	u.db.Super(t, "DELETE FROM spillway.schedules WHERE name = 'again'")
	u.start()
	c, err := sdk.Dial(sdk.Options{HostPort: u.info.TemporalAddress, Namespace: u.info.Namespace})
	must(t, err)
	defer c.Close()
	await.Until(t, "Temporal has forgotten what the ledger does not know", func() bool {
		_, err := c.ScheduleClient().GetHandle(t.Context(), strings.Replace(temporalScheduleID(t, u, "rests"), "/rests", "/again", 1)).Describe(t.Context())
		return err != nil
	})
	for it, err := c.ScheduleClient().List(t.Context(), sdk.ScheduleListOptions{}); it.HasNext(); {
		must(t, err)
		e, err := it.Next()
		must(t, err)
		if !e.Paused {
			t.Errorf("%+v", e)
		}
	}
	u.Terminate()
}

func mustZone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	must(t, err)
	return loc
}
