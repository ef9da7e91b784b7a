package progress

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

// Unit is what a job counts.
type Unit struct {
	Column string // of system.jobs
	Total  string // the column of how many there will be

	one, many string
}

// UnitOf says what a job counts. It goes by the type of the job: a verification moves no row, and a clean-up has no segments.
func UnitOf(job sqlclient.Row) Unit {
	switch JobType(job) {
	case "verify":
		if job["segments_total"] != "" {
			return Unit{Column: "segments_done", Total: "segments_total", one: "segment", many: "segments"}
		}
		return Unit{Column: "chunks_done", Total: "chunks_total", one: "group", many: "groups"}
	case "cleanup":
		return Unit{Column: "chunks_done", Total: "chunks_total", one: "group", many: "groups"}
	}
	return Unit{Column: "rows_flushed", Total: "rows_total", one: "row", many: "rows"}
}

// CountSegments tells of a verification in segments, of which its table has total; "": not known. It reads them in groups of about the same size, so of one that runs the
// number is an estimate.
func CountSegments(job sqlclient.Row, total string) {
	if n := Number(total); n > 0 && JobType(job) == "verify" {
		job["segments_total"] = total
		job["segments_done"] = strconv.Itoa(int(Share(job) * n))
	}
}

// JobType is what stands first in a job's id.
func JobType(job sqlclient.Row) string {
	typ, _, _ := strings.Cut(job["job_id"], ":")
	return typ
}

// Rate writes so many in a second; "": none.
func (u Unit) Rate(perSecond float64) string {
	switch {
	case perSecond <= 0:
		return ""
	case perSecond < 10:
		return strconv.FormatFloat(perSecond, 'f', 1, 64) + " " + u.many + "/s"
	}
	return show.Groups(strconv.FormatFloat(perSecond, 'f', 0, 64)) + " " + u.many + "/s"
}

// DoneText is how much a job has done of what it counts.
func DoneText(job sqlclient.Row) string {
	u := UnitOf(job)
	if total := job[u.Total]; total != "" && total != "0" {
		return show.Groups(job[u.Column]) + " of " + show.Groups(total) + " " + u.many
	}
	if job[u.Column] == "1" && u.one != "row" {
		return "1 " + u.one
	}
	return show.Groups(job[u.Column]) + " " + u.many
}

// progressLine is what a Meter says of a job, but for its speed.
func progressLine(job sqlclient.Row) string {
	line := fmt.Sprintf("%-10s %3.0f %%  %s", job["status"], Share(job)*100, DoneText(job))
	switch JobType(job) {
	case "cleanup":
		return line
	case "verify":
		return line + " read"
	}
	segments := " segments, "
	if job["segments"] == "1" {
		segments = " segment, "
	}
	return line + ", " + show.Groups(job["segments"]) + segments + show.Bytes(job["bytes_written"])
}

// Share returns the done share of a job, 0 to 1.
func Share(job sqlclient.Row) float64 {
	f, err := strconv.ParseFloat(job["progress"], 64)
	if err != nil {
		return 0
	}
	return min(1, max(0, f))
}

// Number reads a number; what is none is 0.
func Number(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return f
}
