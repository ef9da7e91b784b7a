package temporaljobs_test

import (
	"errors"
	"testing"

	"go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest/steptest"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/workflows"
)

// Some jobs have a table and some have none; what is neither is refused before anybody is asked.
func TestTablelessTypes(t *testing.T) {
	t.Parallel()
	c, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wrong := &jobmanager.SpecError{Param: "odd", Msg: "no such parameter"}
	check := func(s jobmanager.JobSpec) error {
		if s.Params["odd"] != "" {
			return wrong
		}
		return nil
	}
	m, err := temporaljobs.New(c, steptest.NewLedger(), &temporaljobs.Options{Installation: "x", Types: map[jobmanager.JobType]temporaljobs.Type{
		workflows.VerifyType:  temporaljobs.Verify(check, workflows.Tuning{}),
		workflows.CleanupType: temporaljobs.Cleanup(check, workflows.Tuning{}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	table := jobmanager.Table{Namespace: "app", Name: "t"}
	for name, spec := range map[string]jobmanager.JobSpec{
		"a table too many":  {Type: workflows.CleanupType, Table: table},
		"no table":          {Type: workflows.VerifyType},
		"half a table":      {Type: workflows.VerifyType, Table: jobmanager.Table{Name: "t"}},
		"parameter":         {Type: workflows.VerifyType, Table: table, Params: map[string]string{"odd": "1"}},
		"cleanup parameter": {Type: workflows.CleanupType, Params: map[string]string{"odd": "1"}},
		"type":              {Type: workflows.FlushType, Table: table},
	} {
		_, err := m.StartJob(t.Context(), spec)
		var bad *jobmanager.SpecError
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v, want a SpecError", name, err)
		}
	}
}
