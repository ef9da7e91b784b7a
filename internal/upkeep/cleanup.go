package upkeep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/internal/option"
)

// Bounds of CLEANUP: attempts or objects per chunk, and objects that one statement may name.
const (
	cleanupBatch   = 20
	MaxNamedStrays = 1000
)

// CleanupOptions are what a CLEANUP was asked to do.
type CleanupOptions struct {
	DryRun  bool     // only tell
	Objects []string // URLs of stray objects to remove; none: what attempts left behind
}

// EncodeObjects writes the addresses of objects as the parameter "objects".
func EncodeObjects(urls []string) (string, error) {
	text, err := json.Marshal(urls)
	return string(text), err
}

// ParseCleanup reads the parameters of a CLEANUP. The error is *option.Error.
func ParseCleanup(params map[string]string) (CleanupOptions, error) {
	var o CleanupOptions
	for name, value := range params {
		switch name {
		case "dry_run":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return o, &option.Error{Option: name, Msg: fmt.Sprintf("invalid value for option %q: expected true or false, not %q", name, value)}
			}
			o.DryRun = on
		case "objects":
			if err := json.Unmarshal([]byte(value), &o.Objects); err != nil {
				return o, &option.Error{Option: name, Msg: "the list of objects cannot be read"}
			}
			if len(o.Objects) == 0 || len(o.Objects) > MaxNamedStrays {
				return o, &option.Error{Option: name, Msg: fmt.Sprintf("expected 1 to %d objects, not %d", MaxNamedStrays, len(o.Objects))}
			}
		default:
			return o, &option.Error{Option: name, Msg: fmt.Sprintf("unknown option %q of CLEANUP", name), Hint: "the option is dry_run"}
		}
	}
	return o, nil
}

// CheckCleanup returns why parameters are none of a CLEANUP, or nil. The error is *option.Error.
func CheckCleanup(params map[string]string) error {
	_, err := ParseCleanup(params)
	return err
}

// cleanupDoc is the plan of a CLEANUP job: attempts to settle, or objects that were named.
type cleanupDoc struct {
	Chunks []cleanupChunk
}

type cleanupChunk struct {
	Attempts []uuid.UUID `json:",omitempty"`
	First    int         `json:",omitempty"` // of the objects that were named
	Objects  int         `json:",omitempty"`
}

// PlanCleanup lists what there is to clean up, or returns the plan that is stored.
func (k *Keeper) PlanCleanup(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	res, err := k.planCleanup(ctx, in)
	if err != nil {
		k.recordFailure(ctx, in.JobID, nil, 1, err)
	}
	return res, err
}

func (k *Keeper) planCleanup(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	req, err := k.request(ctx, in.RequestID)
	if err != nil {
		return jobstep.PlanResult{}, err
	}
	opt, err := ParseCleanup(req.Params)
	if err != nil {
		return jobstep.PlanResult{}, jobstep.Classified(jobstep.ClassInvalid, err)
	}
	doc := &cleanupDoc{Chunks: []cleanupChunk{}}
	if len(opt.Objects) > 0 {
		for first := 0; first < len(opt.Objects); first += cleanupBatch {
			doc.Chunks = append(doc.Chunks, cleanupChunk{First: first, Objects: min(cleanupBatch, len(opt.Objects)-first)})
		}
	} else {
		if !opt.DryRun {
			if err := k.manifests.Refresh(ctx); err != nil {
				return jobstep.PlanResult{}, err
			}
		}
		left, err := k.ledger.Abandoned(ctx)
		if err != nil {
			return jobstep.PlanResult{}, err
		}
		for i, a := range left {
			if i%cleanupBatch == 0 {
				doc.Chunks = append(doc.Chunks, cleanupChunk{})
			}
			c := &doc.Chunks[len(doc.Chunks)-1]
			c.Attempts = append(c.Attempts, a.ID)
		}
	}
	stored, err := k.putPlan(ctx, in, req, doc, len(doc.Chunks))
	if err != nil {
		return jobstep.PlanResult{}, err
	}
	return jobstep.PlanResult{Generation: 1, Chunks: stored.Chunks, Parallelism: 1}, nil
}

// CleanUp carries one chunk of a CLEANUP out. progress is as in RunChunk. An object that was named and is not stray stays, and
// is told of by FinishCleanup.
func (k *Keeper) CleanUp(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	return k.attend(ctx, in, progress, k.cleanUp)
}

func (k *Keeper) cleanUp(ctx context.Context, in jobstep.ChunkInput, m *meter) (jobstep.ChunkResult, error) {
	var c cleanupChunk
	if err := k.planElement(ctx, in, &c); err != nil {
		return jobstep.ChunkResult{}, err
	}
	req, err := k.tableOf(ctx, in.JobID)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	opt, err := ParseCleanup(req.Params)
	if err != nil {
		return jobstep.ChunkResult{}, jobstep.Classified(jobstep.ClassInvalid, err)
	}
	ours, err := coldstore.OwnerOf(ctx, k.ledger)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	b := &broom{k: k, jobID: in.JobID, dry: opt.DryRun, ours: ours, req: req, m: m}
	if c.Objects > 0 {
		err = b.strays(ctx, opt.Objects[c.First:c.First+c.Objects])
	} else {
		err = b.attempts(ctx, c.Attempts)
	}
	return jobstep.ChunkResult{Bytes: m.bytes.Load(), Segments: b.objects}, err
}

// broom removes objects for one job, and notes each.
type broom struct {
	k       *Keeper
	jobID   string
	dry     bool
	ours    objstore.Owner
	req     ledger.Request
	m       *meter
	objects int // removed, or to be removed
}

// store opens a storage and looks, now and not when it was first opened, whether it is ours.
func (b *broom) store(ctx context.Context, name string) (objstore.Store, string, error) {
	store, name, err := b.k.stores.Store(ctx, name)
	if err == nil {
		err = coldstore.RequireOwner(ctx, store, b.ours)
	}
	return store, name, err
}

// attempts settles attempts and removes the objects of those that can never commit. What it cannot do with one does not keep
// the others.
func (b *broom) attempts(ctx context.Context, ids []uuid.UUID) error {
	list, err := b.k.ledger.AttemptsByID(ctx, ids)
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range list {
		if err := b.attempt(ctx, a); err != nil {
			errs = append(errs, fmt.Errorf("attempt %s: %w", a.ID, err))
		}
	}
	return errors.Join(errs...)
}

func (b *broom) attempt(ctx context.Context, a ledger.Attempt) error {
	store, name, err := b.store(ctx, a.Storage)
	if err != nil {
		return err
	}
	if a.CondemnedAt == nil && !b.dry {
		verdict, err := b.k.ledger.Condemn(ctx, a.ID)
		if err != nil || verdict != ledger.VerdictCondemned {
			return err
		}
		b.k.log.Info("condemned an attempt", obs.KeyJob, a.JobID, obs.KeyChunk, a.Chunk, obs.KeyAttempt, a.ID)
	}
	found, err := b.under(ctx, store, name, a)
	if err != nil {
		return err
	}
	if err := fault.Do(ctx, fault.Findings, func() error { return b.k.ledger.PutFindings(ctx, found) }); err != nil || b.dry {
		return err
	}
	n, err := b.k.sweeper.DeleteAttempt(ctx, store, a)
	if err != nil {
		return err
	}
	b.count(found)
	err = fault.Do(ctx, fault.MarkDeleted, func() error { return b.k.ledger.MarkDeleted(ctx, b.jobID, a.ID) })
	if err != nil || n > 0 { // those of a try that was cut off, too
		return err
	}
	return b.k.sweeper.MarkSwept(ctx, a.ID)
}

// under lists the objects of an attempt: those below its prefix, and those that it recorded elsewhere.
func (b *broom) under(ctx context.Context, store objstore.Store, storage string, a ledger.Attempt) (found []ledger.Finding, err error) {
	action, problem := ledger.ActionWouldDelete, fmt.Sprintf("left by an attempt at chunk %d of %s that can never commit", a.Chunk, a.JobID)
	foreign, err := b.k.sweeper.Foreign(ctx, a)
	if err != nil {
		return nil, err
	}
	if foreign {
		action = ledger.ActionKept
		problem = "its attempt was made by another database, or by this one before it was restored or promoted, and may have committed there"
	}
	note := func(info objstore.Info) {
		found = append(found, ledger.Finding{
			JobID: b.jobID, Location: store.URL(info.Key), Storage: storage, Kind: ledger.KindLeftover, Action: action,
			AttemptID: a.ID, Bytes: &info.Size, Problem: problem,
		})
	}
	for info, err := range store.List(ctx, a.ObjectPrefix) {
		if err != nil {
			return nil, err
		}
		note(info)
	}
	keys, err := b.k.ledger.StagedKeys(ctx, a.ID)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if strings.HasPrefix(key, a.ObjectPrefix) {
			continue
		}
		info, err := store.Stat(ctx, key)
		if errors.Is(err, objstore.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		note(info)
	}
	return found, nil
}

func (b *broom) count(found []ledger.Finding) {
	for _, x := range found {
		if x.Action == ledger.ActionKept {
			continue
		}
		b.objects++
		if x.Bytes != nil {
			b.m.bytes.Add(*x.Bytes)
		}
	}
}

// strays removes the objects that were named, each only if it is stray.
func (b *broom) strays(ctx context.Context, urls []string) error {
	for _, u := range urls {
		x, err := b.stray(ctx, u)
		if err == nil {
			x.JobID, x.Location = b.jobID, u
			err = b.k.ledger.PutFindings(ctx, []ledger.Finding{x})
		}
		if err != nil {
			return fmt.Errorf("object %s: %w", u, err)
		}
	}
	return nil
}

// stray removes one object, or says why it stays.
func (b *broom) stray(ctx context.Context, location string) (ledger.Finding, error) {
	x := ledger.Finding{Kind: ledger.KindStray, Action: ledger.ActionKept}
	store, name, key, err := b.find(ctx, location)
	if err != nil {
		return x, err
	}
	if store == nil {
		x.Problem = "it lies in no storage of this database"
		return x, nil
	}
	x.Storage = name
	info, err := store.Stat(ctx, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return b.absent(ctx, x, location)
	}
	if err != nil {
		return x, err
	}
	x.Bytes = &info.Size
	why, err := b.explain(ctx, store, name, key)
	if err != nil || why != "" {
		x.Problem = why
		return x, err
	}
	x.Problem = "no segment and no attempt of the ledger explains it"
	x.Action = ledger.ActionWouldDelete
	if b.dry {
		return x, nil
	}
	// Noted first: a try that dies behind the deletion must not look like an object that never was.
	x.JobID, x.Location = b.jobID, location
	if err := fault.Do(ctx, fault.Findings, func() error { return b.k.ledger.PutFindings(ctx, []ledger.Finding{x}) }); err != nil {
		return x, err
	}
	if err := fault.Do(ctx, fault.DeleteStray, func() error { return store.Delete(ctx, key) }); err != nil {
		return x, err
	}
	x.Action = ledger.ActionDeleted
	b.k.log.Info("removed a stray object", obs.KeyJob, b.jobID, obs.KeyObject, location)
	b.count([]ledger.Finding{x})
	return x, nil
}

// absent is the finding for a named object that is not there: an earlier try may have removed it.
func (b *broom) absent(ctx context.Context, x ledger.Finding, location string) (ledger.Finding, error) {
	old, found, err := b.k.ledger.Finding(ctx, b.jobID, location)
	if err != nil {
		return x, err
	}
	if found && !b.dry && old.Action != ledger.ActionKept {
		old.Action = ledger.ActionDeleted
		return old, nil
	}
	x.Problem = "there is no such object"
	return x, nil
}

// find looks for the storage that an address belongs to. The innermost one counts.
func (b *broom) find(ctx context.Context, location string) (store objstore.Store, name, key string, err error) {
	rows, err := b.k.ledger.Storages(ctx)
	if err != nil {
		return nil, "", "", err
	}
	var errs []error
	for _, row := range rows {
		s, n, err := b.k.stores.Store(ctx, row.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if k, ok := objstore.KeyOf(s, location); ok && (store == nil || len(k) < len(key)) {
			store, name, key = s, n, k
		}
	}
	if store == nil {
		return nil, "", "", errors.Join(errs...) // the one that cannot be opened may be the one
	}
	return store, name, key, coldstore.RequireOwner(ctx, store, b.ours)
}

// explain says why an object is not stray, or "".
func (b *broom) explain(ctx context.Context, store objstore.Store, storage, key string) (string, error) {
	manifests, err := b.k.manifestKeys(ctx, b.req)
	if err != nil {
		return "", err
	}
	switch {
	case key == objstore.OwnerKey:
		return "it is the owner's marker of the storage", nil
	case manifests[key]:
		return "it is the manifest of a table", nil
	}
	known, err := b.k.ledger.Explain(ctx, storage, []string{key}, []string{store.URL(key)})
	switch {
	case err != nil:
		return "", err
	case len(known) != 1:
		return "", jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("%d answers about one object", len(known)))
	case known[0].SegmentID != uuid.Nil:
		return "it is registered as segment " + known[0].SegmentID.String(), nil
	case known[0].Condemned:
		foreign, err := b.k.sweeper.Foreign(ctx, ledger.Attempt{Origin: known[0].Origin})
		if err != nil || foreign {
			return "", err
		}
		return "it was left by a failed attempt: CLEANUP without OBJECT removes it", nil
	case known[0].AttemptID != uuid.Nil:
		return "an attempt that may commit yet is writing it", nil
	}
	return "", nil
}

// FinishCleanup ends a CLEANUP: an object that was named and stayed is an error of the class refused, which names the first of
// them.
func (k *Keeper) FinishCleanup(ctx context.Context, jobID string) error {
	err := k.finishCleanup(ctx, jobID)
	if err != nil {
		k.recordFailure(ctx, jobID, nil, 1, err)
	}
	return err
}

func (k *Keeper) finishCleanup(ctx context.Context, jobID string) error {
	req, err := k.tableOf(ctx, jobID)
	if err != nil {
		return err
	}
	opt, err := ParseCleanup(req.Params)
	if err != nil || opt.DryRun { // a dry run has done all that it was asked for
		return jobstep.Classified(jobstep.ClassInvalid, err)
	}
	all, err := k.ledger.Findings(ctx, jobID)
	if err != nil {
		return err
	}
	var kept []string
	named := 0
	for _, x := range all {
		if x.Kind != ledger.KindStray {
			continue
		}
		named++
		if x.Action == ledger.ActionKept {
			kept = append(kept, x.Location+": "+x.Problem)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return jobstep.Classified(jobstep.ClassRefused, fmt.Errorf("%d of %d objects were kept: %s", len(kept), named, strings.Join(kept[:min(3, len(kept))], "; ")))
}
