package activities

import (
	"testing"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
)

type (
	activityInfo = activity.Info
	values       = converter.EncodedValues
)

func get[T any](t *testing.T, v converter.EncodedValue) T {
	t.Helper()
	var out T
	if err := v.Get(&out); err != nil {
		t.Fatal(err)
	}
	return out
}
