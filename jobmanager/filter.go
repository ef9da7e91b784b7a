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
	return (f.Type == "" || f.Type == j.ID.Type) &&
		(f.Table.Namespace == "" || f.Table.Namespace == j.ID.Table.Namespace) &&
		(f.Table.Name == "" || f.Table.Name == j.ID.Table.Name)
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
