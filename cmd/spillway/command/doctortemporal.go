package command

import (
	"context"
	"time"

	"go.temporal.io/api/operatorservice/v1"
	sdk "go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/workflows"
)

// examineTemporal looks at the Temporal that the flags, the environment or a running `spillway up` name.
func (d *doctor) examineTemporal(ctx context.Context) {
	n, err := newNode(d.env, d.nodeOptions())
	if err != nil {
		d.failed("Temporal", err)
		return
	}
	opts, err := n.temporalOptions(true)
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
	dialCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := sdk.DialContext(dialCtx, opts)
	if err != nil {
		d.failed("Temporal", temporalError(opts.HostPort, err))
		return
	}
	defer c.Close()
	d.ok("Temporal", "answers at %s", opts.HostPort)
	found, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: opts.Namespace})
	if err != nil {
		d.fail("Temporal namespace", "create the namespace "+opts.Namespace+", or name another with --temporal-namespace", "%v", err)
		return
	}
	missing := 0
	for name := range workflows.SearchAttributes() {
		if _, ok := found.GetCustomAttributes()[name]; !ok {
			missing++
		}
	}
	if missing > 0 {
		d.warn("Temporal namespace", "the first start registers them, if it may", "%s lacks %d search attributes", opts.Namespace, missing)
		return
	}
	d.ok("Temporal namespace", "%s, with all search attributes", opts.Namespace)
}

// nodeOptions are the doctor's settings with the ones that it has no flags for.
func (d *doctor) nodeOptions() *serverOptions {
	o := *d.opt
	o.slots, o.shutdownTimeout, o.logLevel, o.logFormat = 1, time.Second, "error", "text"
	return &o
}
