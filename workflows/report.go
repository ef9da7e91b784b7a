package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/jobmanager"
)

// reports is about how many times a job tells its progress to Temporal's visibility. Each is an event in its history.
const reports = 20

// enter begins a phase, and tells.
func (j *job) enter(ctx workflow.Context, p Phase) {
	j.phase = p
	if p == PhaseResidue || p == PhasePublishing || p == PhaseListing { // these are short, and each telling is an event
		j.describe(ctx)
		return
	}
	j.upsert(ctx, j.status)
}

// report tells the progress of chunks, seldom enough to keep the history short.
func (j *job) report(ctx workflow.Context) {
	step := max(1, j.state.Total/reports)
	if j.reported < 0 || j.state.Done-j.reported >= step {
		j.upsert(ctx, j.status)
		return
	}
	j.describe(ctx)
}

// upsert sets the job's search attributes.
func (j *job) upsert(ctx workflow.Context, status jobmanager.Status) {
	j.status, j.reported = status, j.state.Done
	attrs := []temporal.SearchAttributeUpdate{
		AttrJobID.ValueSet(Keyword(j.id)),
		AttrStatus.ValueSet(string(status)),
		AttrPhase.ValueSet(string(j.phase)),
		AttrRows.ValueSet(j.state.Rows),
		AttrChunksDone.ValueSet(int64(j.state.Done)),
		AttrChunksTotal.ValueSet(int64(j.state.Total)),
	}
	if j.state.StartedAt != nil {
		attrs = append(attrs, AttrStarted.ValueSet(*j.state.StartedAt))
	}
	if j.state.LastClass != "" {
		attrs = append(attrs, AttrErrorClass.ValueSet(j.state.LastClass))
	}
	if err := workflow.UpsertTypedSearchAttributes(ctx, attrs...); err != nil {
		workflow.GetLogger(ctx).Warn("upsert search attributes", obs.KeyJob, j.id, obs.KeyErr, err)
	}
	j.describe(ctx)
}

// describe sets what the Web UI shows as the workflow's current details.
func (j *job) describe(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, j.details(workflow.Now(ctx)))
}

func (j *job) progress() Progress {
	return Progress{
		Phase:       j.phase,
		ChunksDone:  j.state.Done,
		ChunksTotal: j.state.Total,
		InFlight:    j.inFlight,
		Rows:        j.state.Rows,
		RowsTotal:   j.state.RowsTotal,
		Bytes:       j.state.Bytes,
		Segments:    j.state.Segments,
		LastClass:   j.state.LastClass,
	}
}

// subject is what the job works on: its table, or what it is itself.
func (j *job) subject() string {
	if j.table == (jobmanager.Table{}) {
		return string(j.kind.job)
	}
	return j.table.String()
}

// details tells the job's story in Markdown.
func (j *job) details(now time.Time) string {
	s := &j.state
	head := fmt.Sprintf("**%s** · %s", markdown(j.subject()), j.status)
	if j.phase != PhaseEnded {
		head += " · " + string(j.phase)
	}
	if s.Total > 0 {
		head += fmt.Sprintf("\n\n`%s` %d %%", bar(s.Done, s.Total), 100*s.Done/s.Total)
	}
	rows := []string{head + "\n", "| | |", "|---|---|"}
	row := func(name, format string, args ...any) {
		rows = append(rows, "| "+name+" | "+fmt.Sprintf(format, args...)+" |")
	}
	row("job", "`%s`", j.id)
	if s.Total > 0 {
		row(j.kind.noun+"s", "%d of %d, %d in flight", s.Done, s.Total, j.inFlight)
		if j.kind.moves || s.RowsTotal > 0 {
			row("rows", "%d of about %d", s.Rows, max(s.RowsTotal, s.Rows))
		}
		if j.kind != restoreKind || s.Segments > 0 {
			row(j.kind.did, "%s in %d %s", size(s.Bytes), s.Segments, j.kind.things)
		}
	}
	if s.StartedAt != nil {
		if d := now.Sub(*s.StartedAt); d >= time.Second && (j.kind.moves || s.Rows > 0) {
			row("rate", "%d rows/s", int64(float64(s.Rows)/d.Seconds()))
		}
	}
	if j.status == jobmanager.Pausing || j.status == jobmanager.Paused {
		row("on hold", "until `RESUME JOB '%s'`", j.id)
	}
	if s.Generation > 1 {
		row("plan", "generation %d", s.Generation)
	}
	if s.Skipped > 0 {
		row("skipped", "%d rows locked by others", s.Skipped)
	}
	if s.RowsLeft != nil {
		row("left hot", "%d rows", *s.RowsLeft)
	}
	if s.LastClass != "" {
		row("last error", "class `%s`", s.LastClass)
	}
	return strings.Join(rows, "\n") + "\n"
}

// bar draws done of total in twenty cells.
func bar(done, total int) string {
	const cells = 20
	full := min(cells, cells*done/total)
	return strings.Repeat("█", full) + strings.Repeat("░", cells-full)
}

// size writes bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n)/unit, "KMGTP"
	i := 0
	for ; v >= unit && i < len(units)-1; i++ {
		v /= unit
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// markdown keeps a name from being read as Markdown.
func markdown(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune("\\`*_{}[]()#+-!|<>", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
