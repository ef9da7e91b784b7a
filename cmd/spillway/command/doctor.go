package command

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	sdk "go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/internal/cli/doctor"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
)

func newDoctor(env *Env) *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check database, storage, Temporal and clocks, and say what to do",
		Long: `Check what spillway needs: the database and the worker's rights in it, the ledger, the registered tables, the storage (by writing,
reading and deleting an object), Temporal, clocks. Give it the flags that you give to up or worker. It changes nothing. Exit code 1 if a
check fails.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd, env, &o) },
	}
	o.databaseFlags(cmd, " (default: only a running 'spillway up' is looked at)")
	o.dataDirFlag(cmd)
	o.storageFlag(cmd)
	o.temporalFlags(cmd, " (default: that of a running 'spillway up')")
	o.temporalStoreFlags(cmd)
	return cmd
}

func runDoctor(cmd *cobra.Command, env *Env, o *serverOptions) error {
	findings := doctor.Examine(cmd.Context(), &doctor.Options{
		DatabaseURL: o.databaseURL, LedgerSchema: o.ledgerSchema, SystemSchema: o.systemSchema, Storage: o.storage, DataDir: o.dataDir, Retention: defaultRetention,
		Hint: hintOf,
		Temporal: func() (sdk.Options, error) {
			n, err := newNode(env, o.lookedAt())
			if err != nil {
				return sdk.Options{}, err
			}
			return n.temporalOptions(true)
		},
		Store: func() (*embedtemporal.PostgresOptions, error) {
			if !o.inPostgres() {
				return nil, nil
			}
			opt := o.storeOptions("")
			return &opt, o.checkStore()
		},
	})
	s := newSink(cmd, env)
	if err := s.Begin([]show.Column{{Name: "check"}, {Name: "status"}, {Name: "found"}, {Name: "what_to_do"}}); err != nil {
		return err
	}
	failed := 0
	for _, f := range findings {
		if f.Status == doctor.Fail {
			failed++
		}
		if err := s.Row([][]byte{[]byte(f.Check), []byte(f.Status), []byte(f.Found), []byte(f.Todo)}); err != nil {
			return err
		}
	}
	if err := s.End(""); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(findings))
	}
	return nil
}

// lookedAt are the doctor's settings with the ones that it has no flags for.
func (o *serverOptions) lookedAt() *serverOptions {
	n := *o
	n.temporalStore = "" // it is looked at by itself
	n.slots, n.retention, n.shutdownTimeout, n.logLevel, n.logFormat = 1, defaultRetention, time.Second, "error", "text"
	return &n
}
