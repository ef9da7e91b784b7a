package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/jobmanager"
)

// CheckStorageName is the workflow type of CheckStorage.
const CheckStorageName = "CheckStorage"

// How long a check of a storage may take. Somebody waits for it.
const (
	checkStart = 15 * time.Second // until a worker takes it
	checkRun   = 45 * time.Second
	// CheckTimeout is the longest life of the workflow.
	CheckTimeout = checkStart + checkRun + 10*time.Second
)

// StorageInput is the argument of CheckStorage.
type StorageInput = activities.StorageInput

// CheckStorageID returns the id of the workflow that checks a storage. One check of a storage runs at a time.
func CheckStorageID(installation, storage string) string {
	return shorten(jobmanager.EscapeName(installation) + "/storage/" + jobmanager.EscapeName(storage))
}

// CheckStorage lets a worker try a storage, once: whoever asked may ask again. It is no job.
func CheckStorage(ctx workflow.Context, in StorageInput) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		ScheduleToStartTimeout: checkStart, StartToCloseTimeout: checkRun, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
	})
	var acts *activities.Storages
	return workflow.ExecuteActivity(ctx, acts.CheckStorage, in).Get(ctx, nil)
}
