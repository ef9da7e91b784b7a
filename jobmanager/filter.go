package jobmanager

import (
	"cmp"
	"slices"
)

// Match reports whether f selects a job.
func (f JobFilter) Match(j JobInfo) bool {
	switch {
	case len(f.Statuses) > 0 && !slices.Contains(f.Statuses, j.Status):
		return false
	case len(f.Statuses) == 0 && !f.All && j.Status.Terminal():
		return false
	}
	return f.MatchID(j.ID)
}

// MatchID reports whether f selects a job by what never changes in its life.
func (f JobFilter) MatchID(id JobID) bool {
	return (len(f.IDs) == 0 || slices.Contains(f.IDs, id)) &&
		(len(f.Targets) == 0 || slices.Contains(f.Targets, id.Table.String())) &&
		(f.Type == "" || f.Type == id.Type) &&
		(f.Table.Namespace == "" || f.Table.Namespace == id.Table.Namespace) &&
		(f.Table.Name == "" || f.Table.Name == id.Table.Name)
}

// Ended reports whether f may select jobs that have ended.
func (f JobFilter) Ended() bool {
	if len(f.Statuses) == 0 {
		return f.All
	}
	return slices.ContainsFunc(f.Statuses, Status.Terminal)
}

// Newer orders jobs newest first, for slices.SortFunc; by id where they were created at the same time.
func Newer(a, b JobInfo) int {
	return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID.String(), b.ID.String()))
}
