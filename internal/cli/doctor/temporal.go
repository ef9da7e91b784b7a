package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	sdk "go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/internal/cli/temporalconn"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
	"github.com/spillwaydb/spillway/workflows"
)

// examineTemporal looks at the Temporal that the flags, the environment or a running `spillway up` name.
func (d *doctor) examineTemporal(ctx context.Context) {
	opts, err := d.o.Temporal()
	if err != nil {
		d.failed("Temporal", err)
		return
	}
	if opts.HostPort == "" && d.up != nil {
		opts.HostPort, opts.Namespace = d.up.TemporalAddress, d.up.Namespace
	}
	if opts.HostPort == "" {
		d.ok("Temporal", "none named; `spillway up` runs one of its own")
		return
	}
	c, ns, err := temporalconn.Dial(ctx, opts)
	if err != nil {
		d.failed("Temporal", err)
		return
	}
	defer c.Close()
	d.ok("Temporal", "answers at %s", opts.HostPort)
	d.examineRetention(opts, ns.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration())
	d.examineAttributes(ctx, c, opts)
}

// examineRetention says when a namespace forgets too early for us, or remembers what nobody can look up.
func (d *doctor) examineRetention(opts sdk.Options, retention time.Duration) {
	const check = "Temporal namespace"
	todo := "temporal operator namespace update --namespace " + opts.Namespace + " --retention 168h --address " + opts.HostPort
	switch {
	case retention < leastNamespaceRetention:
		d.warn(check, "while no worker runs for longer, the ends of terminated jobs are forgotten before they are recorded: "+todo,
			"%s, keeps finished workflows for %s", opts.Namespace, days(retention))
	case retention > d.o.Retention:
		d.warn(check, "jobs leave system.jobs after --retention ("+days(d.o.Retention)+" by default); their histories take room in Temporal for longer: "+todo,
			"%s, keeps finished workflows for %s", opts.Namespace, days(retention))
	default:
		d.ok(check, "%s, keeps finished workflows for %s", opts.Namespace, days(retention))
	}
}

// leastNamespaceRetention bears a long weekend without a worker.
const leastNamespaceRetention = 3 * 24 * time.Hour

// examineAttributes names the search attributes that are missing. It creates none.
func (d *doctor) examineAttributes(ctx context.Context, c sdk.Client, opts sdk.Options) {
	const check = "search attributes"
	want := workflows.SearchAttributes()
	missing, err := embedtemporal.MissingSearchAttributes(ctx, c, opts.Namespace, want)
	names := strings.Join(slices.Sorted(maps.Keys(missing)), ", ")
	switch {
	case err != nil:
		d.failed(check, temporalconn.AttributesError(opts.HostPort, &embedtemporal.SearchAttributesError{Namespace: opts.Namespace, Missing: missing, Err: err}))
	case len(missing) > 0:
		todo := "the first start creates them, if it may; otherwise let an administrator run: " +
			embedtemporal.CreateCommand(opts.Namespace, missing) + " --address " + opts.HostPort
		d.warn(check, todo, "%s has %d of %d; missing: %s", opts.Namespace, len(want)-len(missing), len(want), names)
	default:
		d.ok(check, "%s has all %d", opts.Namespace, len(want))
	}
}

// days prints a retention, which is whole days almost always.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == day:
		return "1 day"
	case d > 0 && d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}
