package faults

import (
	"path/filepath"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
	"github.com/spillwaydb/spillway/tests/audit"
)

// A31 A34: a segment that goes to a bucket in parts, and a part that does not arrive, arrives unnoticed, or is only said to have.
func TestBucket(t *testing.T) {
	t.Parallel()
	s := cloudtest.Start(t)
	options := cloudtest.Options(s.Endpoint)
	options["part_size"] = "5MB"
	name := s.Bucket(t)
	dir := filepath.Join(s.Path(name), "cold")
	audit.Bucket(t, "s3://"+name, s.Path(name))
	l := newLaneIn(t, pgtest.Database(t), dir, "s3://"+name+"/cold", options)
	// Text that does not compress well: more than one part of the smallest size that S3 takes.
	l.fill = "SELECT i, i % 3, (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 100) j), i FROM generate_series(1, 4000) i"
	c := newCoverage()
	for _, w := range []walk{
		{op: opFlush, shot: shot{fault.UploadPart, fail}, way: retry},
		{op: opFlush, shot: shot{fault.UploadPart, deny}, way: restart},
		{op: opFlush, shot: shot{fault.UploadPart, lie}, way: retry},
		{op: opFlush, shot: shot{fault.UploadPart, hang}, way: woken},
		{op: opFlush, shot: shot{fault.UploadPart, crashAfter}, way: restart},
		{op: opFlush, shot: shot{fault.UploadPart, crashAfter}, way: kill},
		{op: opFlush, shot: shot{fault.LastPart, fail}, way: retry},
		{op: opFlush, shot: shot{fault.LastPart, deny}, way: kill},
		{op: opFlush, shot: shot{fault.LastPart, lie}, way: restart},
		{op: opFlush, shot: shot{fault.LastPart, hang}, way: woken},
		{op: opFlush, shot: shot{fault.LastPart, crashAfter}, way: restart},
		{op: opFlush, shot: shot{fault.Complete, fail}, way: restart},
		{op: opFlush, shot: shot{fault.Complete, deny}, way: retry},
		{op: opFlush, shot: shot{fault.Complete, lie}, way: retry},
		{op: opFlush, shot: shot{fault.Complete, hang}, way: woken},
		{op: opFlush, shot: shot{fault.Complete, hang}, way: terminate},
		{op: opFlush, shot: shot{fault.Complete, crashBefore}, way: restart},
		{op: opFlush, shot: shot{fault.Complete, crashAfter}, way: kill},
		{op: opFlush, shot: shot{fault.Upload, deny}, way: retry},
		{op: opFlush, shot: shot{fault.Upload, lie}, way: restart},
		{op: opFlush, shot: shot{fault.Commit, hang}, way: terminate},
	} {
		ended := t.Run(w.name(), func(t *testing.T) {
			w.take(t, l, c)
			if parts := s.Parts(t, name); len(parts) != 0 {
				t.Errorf("left of uploads that nobody will finish: %q", parts)
			}
		})
		if !ended {
			return // the next walk would meet what this one left
		}
	}
	c.print(t)
}
