package command

import (
	"context"
	"fmt"
	"net"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/show"
)

func newFront(env *Env) *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "front",
		Short: "Run only the SQL front-end, against a Temporal cluster",
		Long: `Run only the SQL front-end: clients connect to it as to PostgreSQL. Workers do the work elsewhere. TEMPORAL_* variables and
profiles of Temporal's own tools count.`,
		Example: `  spillway front --database-url postgres://spillway@db/app --temporal-address temporal:7233 --sql-listen 0.0.0.0:7432`,
		Args:    args(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runFront(cmd.Context(), env, &o) },
	}
	o.databaseFlags(cmd, "")
	o.temporalFlags(cmd, " (default: TEMPORAL_ADDRESS, or 127.0.0.1:7233)")
	o.frontFlag(cmd)
	o.retentionFlag(cmd)
	o.runFlags(cmd, frontMetrics)
	return cmd
}

func runFront(ctx context.Context, env *Env, o *serverOptions) error {
	n, err := o.remoteNode(env)
	if err != nil {
		return err
	}
	var ln net.Listener
	err = func() error {
		if ln, err = n.listen("sql-listen", o.sqlListen); err != nil {
			return err
		}
		return n.startRemote(ctx, func(context.Context) error { return n.startFront(ln) })
	}()
	if err != nil {
		n.abandon(ctx)
		return err
	}
	u := url.URL{Scheme: "postgres", Host: reachable(ln.Addr().String()), Path: "/" + n.database()}
	fmt.Fprintf(env.Stdout, "spillway front is ready: psql %s\n", show.ShellQuote(u.String()))
	return n.run(ctx)
}
