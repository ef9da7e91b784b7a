package command

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

// What a shell's Tab asks the server for. The first column is the name, the second what the shell shows beside it.
const (
	schemaNames = `SELECT DISTINCT n.nspname AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'spillway') ORDER BY 1 LIMIT 1000`
	coldTables    = `SELECT table_schema || '.' || table_name AS name, rows_cold || ' cold rows' AS about FROM @tables ORDER BY 1 LIMIT 5000`
	liveJobs      = `SELECT job_id AS name, status AS about FROM @jobs WHERE finished_at IS NULL ORDER BY created_at DESC LIMIT 500`
	pausedJobs    = `SELECT job_id AS name, status AS about FROM @jobs WHERE status IN ('paused', 'pausing') ORDER BY created_at DESC LIMIT 500`
	storageNames  = "SHOW STORAGES"
	scheduleNames = "SHOW SCHEDULES"
)

// completes says what the arguments of a command are; many of them may be given where several is true.
var completes = map[string]struct {
	query   string
	several bool
}{
	"flush": {query: sqlclient.TableNames}, "restore": {query: coldTables}, "verify": {query: coldTables}, "cat": {query: coldTables},
	"jobs show": {sqlclient.AllJobs, true}, "jobs kill": {liveJobs, true}, "jobs pause": {liveJobs, true}, "jobs resume": {pausedJobs, true}, "jobs wait": {liveJobs, true},
	"storage drop": {query: storageNames}, "storage adopt": {query: storageNames},
	"policy set": {query: sqlclient.TableNames}, "policy reset": {query: coldTables}, "policy show": {query: coldTables}, "policy pause": {query: coldTables}, "policy resume": {query: coldTables},
	"schedule pause": {query: scheduleNames}, "schedule resume": {query: scheduleNames}, "schedule trigger": {query: scheduleNames}, "schedule drop": {query: scheduleNames},
	"schedule show": {query: scheduleNames}, "schedule explain": {query: scheduleNames}, "schedule backfill": {query: scheduleNames},
}

// flagCompletes says the same of flags, by name; those of server commands name no running server to ask.
var flagCompletes = map[string]string{"table": sqlclient.TableNames, "from-job": sqlclient.AllJobs, "in": schemaNames}

// flagWords are flags that take one of a few words.
var flagWords = map[string][]string{
	"log-level": {"debug", "info", "warn", "error"}, "log-format": {"text", "json"}, "on-conflict": {"error", "skip"}, "overlap": {"skip", "buffer_one", "allow"},
}

// addCompletions lets Tab in a shell complete names that the server knows.
func addCompletions(root *cobra.Command, env *Env) {
	for _, cmd := range root.Commands() {
		addCompletions(cmd, env)
	}
	_, path, _ := strings.Cut(root.CommandPath(), " ")
	if c, ok := completes[path]; ok && root.ValidArgsFunction == nil {
		root.ValidArgsFunction = func(cmd *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(given) > 0 && !c.several {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return askNames(cmd, env, c.query, given)
		}
	}
	complete := func(f *pflag.Flag) {
		var err error
		if query, ok := flagCompletes[f.Name]; ok && root.Flags().Lookup("sql-url") != nil {
			err = root.RegisterFlagCompletionFunc(f.Name, func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return askNames(cmd, env, query, nil)
			})
		} else if words := flagWords[f.Name]; words != nil {
			err = root.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		} else if f.Name == "output" {
			err = root.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(formsOf(f), cobra.ShellCompDirectiveNoFileComp))
		}
		_ = err // it has one already, of its own
	}
	root.LocalNonPersistentFlags().VisitAll(complete)
	root.PersistentFlags().VisitAll(complete)
}

const tabPatience = 3 * time.Second

// askNames asks the front-end that the command would talk to. A Tab is no place for an error, and has no time.
func askNames(cmd *cobra.Command, env *Env, query string, given []string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const nothing = cobra.ShellCompDirectiveNoFileComp
	if err := applySettings(cmd, env); err != nil {
		return nil, nothing
	}
	var o clientOptions
	o.sqlURL, _ = cmd.Flags().GetString("sql-url")
	if o.dataDir, _ = cmd.Flags().GetString("data-dir"); o.dataDir == "" {
		o.dataDir = datadir.Default
	}
	ctx, cancel := context.WithTimeout(context.Background(), tabPatience)
	defer cancel()
	c, err := o.connect(ctx)
	if err != nil {
		return nil, nothing
	}
	defer c.Close()
	names, err := c.Names(ctx, query)
	if err != nil {
		return nil, nothing
	}
	var out []cobra.Completion
	for _, n := range names {
		if slices.Contains(given, n.Name) || strings.Trim(n.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-") != "" {
			continue // named before, or not to be typed in a shell without quotes
		}
		out = append(out, cobra.CompletionWithDesc(n.Name, n.About))
	}
	return out, nothing
}
