package backing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	sdk "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/sqlfront"
	"github.com/spillwaydb/spillway/workflows"
)

// Storages lets the front-end change storages: the ledger knows them, and workers, which have the credentials, try them.
type Storages struct {
	Ledger       *ledger.Ledger
	Temporal     sdk.Client
	Installation string // its name, which names the task queue of its workers
}

var _ sqlfront.Storages = (*Storages)(nil)

// Check implements sqlfront.Storages.
func (s *Storages) Check(spec sqlfront.StorageSpec) error {
	if !strings.Contains(spec.Location, "://") && !filepath.IsAbs(spec.Location) {
		return &sqlfront.StorageError{Code: "22023", Place: true, Msg: "a folder is named by its absolute path, the same on every worker's machine", Hint: "a bucket is named as s3://bucket/prefix"}
	}
	_, err := CheckStorage(spec.Location, spec.Options)
	var location *objstore.LocationError
	var option *objstore.OptionError
	switch {
	case errors.As(err, &location):
		return &sqlfront.StorageError{Code: "22023", Place: true, Msg: err.Error(), Hint: "a location is a folder of the workers' machines, or s3://bucket/prefix, gs://bucket/prefix, az://container/prefix"}
	case errors.As(err, &option):
		return &sqlfront.StorageError{Code: "22023", Option: option.Option, Msg: option.Msg, Hint: option.Hint}
	}
	return err
}

// CheckStorage says how a location will be written down, if it and the options can be those of a storage.
func CheckStorage(location string, options map[string]string) (string, error) {
	canonical, err := objstore.Check(location, options)
	if err != nil {
		return "", err
	}
	if template, ok := options[objstore.OptionPath]; ok {
		if err := layout.CheckPath(template); err != nil {
			return "", &objstore.OptionError{Option: objstore.OptionPath, Msg: err.Error()}
		}
	}
	return canonical, nil
}

// Create implements sqlfront.Storages.
func (s *Storages) Create(ctx context.Context, spec sqlfront.StorageSpec) error {
	location, err := CheckStorage(spec.Location, spec.Options)
	if err != nil {
		return err
	}
	options, err := json.Marshal(spec.Options)
	if err != nil {
		return err
	}
	row := ledger.StorageRow{Name: spec.Name, Location: location, Options: options, CreatedBy: spec.User}
	if err := s.Ledger.CreateStorage(ctx, row, objstore.Overlap); err != nil {
		return storageError(err)
	}
	if err := s.try(ctx, spec.Name, false); err != nil {
		// The entry goes also if the client has.
		return errors.Join(err, s.Ledger.DiscardStorage(context.WithoutCancel(ctx), spec.Name))
	}
	return nil
}

// Adopt implements sqlfront.Storages.
func (s *Storages) Adopt(ctx context.Context, name string) error {
	if _, err := s.Ledger.Storage(ctx, name); err != nil {
		return noStorage(err, name)
	}
	return s.try(ctx, name, true)
}

// Drop implements sqlfront.Storages.
func (s *Storages) Drop(ctx context.Context, name string) error {
	return noStorage(s.Ledger.DropStorage(ctx, name), name)
}

func noStorage(err error, name string) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return &sqlfront.StorageError{Code: "42704", Msg: fmt.Sprintf("storage \"%s\" does not exist", name), Hint: "SHOW STORAGES lists them"}
	}
	return storageError(err)
}

func storageError(err error) error {
	var overlap *ledger.StorageOverlapError
	var used *ledger.StorageInUseError
	switch {
	case errors.As(err, &overlap) && overlap.Name == overlap.Other.Name:
		return &sqlfront.StorageError{Code: "42710", Msg: overlap.Error()}
	case errors.As(err, &overlap):
		return &sqlfront.StorageError{Code: "42710", Place: true, Msg: overlap.Error(),
			Hint: "one place belongs to one storage, or each would take the other's files for strays: choose a prefix beside it"}
	case errors.As(err, &used):
		return &sqlfront.StorageError{Code: "55006", Msg: used.Error(), Hint: "rows that are there would be lost to readers; segments of history count too"}
	case errors.Is(err, ledger.ErrDefaultStorage):
		return &sqlfront.StorageError{Code: "2BP01", Msg: ledger.ErrDefaultStorage.Error(), Hint: "flushes that name no storage go there"}
	}
	return err
}

// Storages implements sqlfront.Storages.
func (s *Storages) Storages(ctx context.Context) ([]sqlfront.Storage, error) {
	list, err := s.Ledger.StorageUses(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]sqlfront.Storage, len(list))
	for i, u := range list {
		options, err := u.OptionMap()
		if err != nil {
			return nil, err
		}
		out[i] = sqlfront.Storage{
			Name: u.Name, Location: u.Location, Options: options, IsDefault: u.IsDefault, CreatedBy: u.CreatedBy, CreatedAt: u.CreatedAt, CheckedAt: u.CheckedAt,
			Status: "ready", Segments: u.Segments, RowsCold: u.Rows, BytesCold: u.Bytes,
		}
		if u.Pending {
			out[i].Status = "creating"
		}
	}
	return out, nil
}

// try lets a worker look at a storage, and says what it found.
func (s *Storages) try(ctx context.Context, name string, adopt bool) error {
	ctx, cancel := context.WithTimeout(ctx, workflows.CheckTimeout)
	defer cancel()
	run, err := s.Temporal.ExecuteWorkflow(ctx, sdk.StartWorkflowOptions{
		ID: workflows.CheckStorageID(s.Installation, name), TaskQueue: workflows.TaskQueue(s.Installation), WorkflowExecutionTimeout: workflows.CheckTimeout,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL, WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary: "Tries a storage for a statement",
	}, workflows.CheckStorageName, workflows.StorageInput{Name: name, Adopt: adopt})
	var started *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &started) {
		return &sqlfront.StorageError{Code: "55006", Msg: fmt.Sprintf("storage \"%s\" is being looked at by another statement", name)}
	}
	if err == nil {
		err = run.Get(ctx, nil)
	}
	if err == nil {
		return nil
	}
	return s.found(ctx, name, err)
}

// found says what kept a worker from finding a storage good. The text is in the ledger, not in the workflow.
func (s *Storages) found(ctx context.Context, name string, err error) error {
	var app *temporal.ApplicationError
	var late *temporal.TimeoutError
	switch {
	case errors.As(err, &late) && late.TimeoutType() == enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START:
		return &sqlfront.StorageError{Code: "57P03", Msg: "no worker took up the check of the storage", Hint: "a worker tries each storage, for it has the credentials: start one with `spillway worker` or `spillway up`"}
	case errors.As(err, &late), errors.Is(err, context.DeadlineExceeded):
		return &sqlfront.StorageError{Code: "58030", Msg: "the storage, or the worker that was to try it, did not answer in time"}
	case !errors.As(err, &app):
		return err
	}
	row, readErr := s.Ledger.Storage(context.WithoutCancel(ctx), name)
	if readErr != nil {
		return readErr
	}
	e := &sqlfront.StorageError{Code: "58030", Msg: "a worker could not use the storage", Place: true}
	if row.CheckError != nil {
		e.Msg += ": " + *row.CheckError
	}
	switch app.Type() {
	case jobstep.ClassRefused:
		e.Code, e.Hint = "55000", "choose another prefix; if the other database is gone for good, ALTER STORAGE … ADOPT or `spillway storage adopt` takes a storage over"
	case jobstep.ClassStorageDenied:
		e.Code, e.Hint = "28000", "look at the bucket's name and region, at the keys that the workers have, and at what they allow: docs/storages.md"
	case jobstep.ClassInvalid:
		e.Code = "22023"
	case jobstep.ClassStorageFull:
		e.Code = "53100"
	default:
		e.Hint = "the workers must reach the storage; the option endpoint says where it is"
	}
	return e
}
