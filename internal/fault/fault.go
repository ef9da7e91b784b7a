// Package fault names the side effects of jobs, so that tests can make each of them go wrong: [Do] carries an effect out under
// its [Point], and a [Hook] that a test put into the context may fail it, do it and say that it failed, hang, or end the process.
//
// Warning: only tests call [With]. The product never does, so that in production Do is a call of the effect; a rule of
// tests/imports holds it. Nothing reads a switch from outside: a program that can be told to lose a step would be told one day.
package fault

import (
	"context"
	"io"
)

// Point is a side effect of a job.
type Point string

// The points, in the order of a chunk's life.
const (
	Claim        Point = "claim"         // the table becomes the job's
	Plan         Point = "plan"          // the plan is stored
	AttemptRow   Point = "attempt row"   // T0
	Begin        Point = "begin"         // BEGIN of T1
	Take         Point = "take"          // T1 deletes its attempt row: the mutex
	Lock         Point = "lock"          // of the table
	Fence        Point = "fence"         // the row of the chunk
	FirstByte    Point = "first byte"    // of the COPY
	HalfStream   Point = "half stream"   // of the COPY
	StageObjects Point = "stage objects" // keys are recorded before objects are written in many directories
	FileWritten  Point = "file written"  // footer and all; it is not durable
	Fsync        Point = "fsync"         // of a local file
	Link         Point = "link"          // a local file gets its name
	SyncDir      Point = "sync dir"      // that name becomes durable
	UploadPart   Point = "upload part"   // to a bucket
	LastPart     Point = "last part"     // to a bucket
	Complete     Point = "complete"      // an upload in parts becomes an object
	Upload       Point = "upload"        // the object is durable and has its name
	FooterCheck  Point = "footer check"  // the object is read back
	LedgerInsert Point = "ledger insert" // of the segments, in T1
	ChunkRow     Point = "chunk row"     // the row of the chunk is completed, in T1
	Commit       Point = "commit"        // before it COMMIT is not sent, after it COMMIT is answered

	RestoreInsert  Point = "restore insert"  // rows go back into the table, or to the stage before it
	RestoreUnstage Point = "restore unstage" // from the stage into the table
	SegmentHistory Point = "segment history" // the segment becomes history, in T1

	Condemn     Point = "condemn"      // of an attempt
	Delete      Point = "delete"       // of the objects of a condemned attempt
	DropAttempt Point = "drop attempt" // by the process that made it
	MarkSwept   Point = "mark swept"   // an attempt whose prefix was found empty

	Findings    Point = "findings"     // of a clean-up are noted
	DeleteStray Point = "delete stray" // an object that was named
	MarkDeleted Point = "mark deleted" // the findings of an attempt

	Manifest    Point = "manifest"     // takes its name
	History     Point = "history"      // the job's end is recorded
	TouchTable  Point = "touch table"  // when the table was flushed
	FreeTable   Point = "free table"   // the claim goes
	Heartbeat   Point = "heartbeat"    // of an activity
	Activity    Point = "activity"     // that moves rows: after it, its result is on the way to Temporal
	WorkflowEnd Point = "workflow end" // the last step of a job: after it, its workflow is about to end
)

// Points are all points.
func Points() []Point {
	return []Point{
		Claim, Plan, AttemptRow, Begin, Take, Lock, Fence, FirstByte, HalfStream, StageObjects, FileWritten, Fsync,
		Link, SyncDir, UploadPart, LastPart, Complete, Upload, FooterCheck, LedgerInsert, ChunkRow, Commit, RestoreInsert,
		RestoreUnstage, SegmentHistory, Condemn, Delete, DropAttempt, MarkSwept, Findings, DeleteStray, MarkDeleted,
		Manifest, History, TouchTable, FreeTable, Heartbeat, Activity, WorkflowEnd,
	}
}

// Hook stands in for an effect. It may call effect, once at most, and decides what the caller hears.
type Hook func(ctx context.Context, p Point, effect func() error) error

type key struct{}

// With gives the steps that run in the context a hook.
func With(ctx context.Context, h Hook) context.Context { return context.WithValue(ctx, key{}, h) }

// Do carries an effect out, or lets the hook of the context have it.
func Do(ctx context.Context, p Point, effect func() error) error {
	if h, ok := ctx.Value(key{}).(Hook); ok {
		return h(ctx, p, effect)
	}
	return effect()
}

// Stream gives a stream that goes to w the points FirstByte and HalfStream. Without a hook it is w.
func Stream(ctx context.Context, w io.Writer) io.Writer {
	if _, ok := ctx.Value(key{}).(Hook); !ok {
		return w
	}
	return &stream{ctx: ctx, w: w}
}

// stream cuts the first piece in two, however little that is: what comes between is in the middle of the rows.
type stream struct {
	ctx   context.Context
	w     io.Writer
	begun bool
}

func (s *stream) Write(p []byte) (int, error) {
	if s.begun {
		return s.w.Write(p)
	}
	s.begun = true
	half := (len(p) + 1) / 2
	for i, part := range [][]byte{p[:half], p[half:]} {
		point := []Point{FirstByte, HalfStream}[i]
		err := Do(s.ctx, point, func() error { _, err := s.w.Write(part); return err })
		if err != nil {
			return i * half, err
		}
	}
	return len(p), nil
}
