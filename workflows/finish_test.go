package workflows

import (
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/spillwaydb/spillway/jobmanager"
)

// A26 A31: a step of a dead worker ends by its timeout. If it was not tried again only because the job was killed, the job is
// cancelled; if it was tried as often as it may be, the job failed.
func TestKilledWhileTheWorkerIsDead(t *testing.T) {
	t.Parallel()
	for state, want := range map[enumspb.RetryState]jobmanager.Status{
		enumspb.RETRY_STATE_CANCEL_REQUESTED:         jobmanager.Cancelled,
		enumspb.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED: jobmanager.Failed,
		enumspb.RETRY_STATE_NON_RETRYABLE_FAILURE:    jobmanager.Failed,
		enumspb.RETRY_STATE_TIMEOUT:                  jobmanager.Failed,
	} {
		err := temporal.GetDefaultFailureConverter().FailureToError(&failurepb.Failure{
			FailureInfo: &failurepb.Failure_ActivityFailureInfo{ActivityFailureInfo: &failurepb.ActivityFailureInfo{RetryState: state}},
			Cause: &failurepb.Failure{FailureInfo: &failurepb.Failure_TimeoutFailureInfo{
				TimeoutFailureInfo: &failurepb.TimeoutFailureInfo{TimeoutType: enumspb.TIMEOUT_TYPE_HEARTBEAT},
			}},
		})
		if got := statusOf(err); got != want || classOf(err) != classTimeout {
			t.Errorf("%s: %s (%s), want %s", state, got, classOf(err), want)
		}
	}
}
