package command

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/cli/words"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

func newPolicy(env *Env) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "policy",
		Short: "Let tables flush by themselves",
		Example: `  spillway policy set app.events --interval '1 hour' --rows 1000000 --older-than '7 days' --age-column created_at
  spillway policy list
  spillway policy pause app.events
  spillway policy reset app.events`,
	})
	cmd.AddCommand(newPolicySet(env), newPolicyShow(env), newPolicyList(env),
		newPolicyChange(env, "reset", "Remove a table's flush policy; the table stays registered"),
		newPolicyChange(env, "pause", "Make a table's flush policy rest"),
		newPolicyChange(env, "resume", "Let a table's flush policy go on, after a pause, a restore or failures"))
	return cmd
}

type policyOptions struct {
	interval, bytes, olderThan, ageColumn, where, storage string
	rows, minRows, keepRows                               int64
	partitionBy, with                                     []string
	paused                                                bool
}

func newPolicySet(env *Env) *cobra.Command {
	var o clientOptions
	var p policyOptions
	cmd := &cobra.Command{
		Use:   "set TABLE",
		Short: "Set a table's flush policy, in place of any that it had",
		Long: `Set a table's flush policy, in place of any that it had. The table flushes when --interval has passed since its last flush, or when
rows that would move are --rows or take up --bytes, whichever comes first. Who gives none of the three gets an error.`,
		Example: `  spillway policy set app.events --interval '1 hour' --rows 1000000
  spillway policy set app.events --bytes 10GB --older-than '7 days' --age-column created_at --storage archive
  spillway policy set app.events --rows 100000 --keep-rows 50000 --age-column id --partition-by tenant_id,'month(at)' --with codec=zstd`,
		Args: args("TABLE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			statement, err := p.statement(given[0])
			if err != nil {
				return err
			}
			return o.send(cmd, env, statement)
		},
		ValidArgsFunction: completeTable(&o),
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&p.interval, "interval", "", "flush so long after the last flush: '1 hour'")
	f.Int64Var(&p.rows, "rows", 0, "flush when so many rows would move")
	f.StringVar(&p.bytes, "bytes", "", "flush when rows of this size would move: 1GB")
	f.Int64Var(&p.minRows, "min-rows", 0, "start nothing for fewer rows than this")
	f.StringVar(&p.olderThan, "older-than", "", "move only rows older than this interval: '7 days'")
	f.StringVar(&p.ageColumn, "age-column", "", "the column that tells a row's age (default: the only one with a time)")
	f.Int64Var(&p.keepRows, "keep-rows", 0, "leave so many of the newest rows, by --age-column")
	f.StringVar(&p.where, "where", "", "move only rows that match this SQL condition")
	f.StringVar(&p.storage, "storage", "", "the storage that segments go to")
	f.StringArrayVar(&p.partitionBy, "partition-by", nil, "columns: one file per distinct value, as in tenant_id,'month(at)' (may be repeated)")
	f.StringArrayVar(&p.with, "with", nil, "another option, name=value; a list in parentheses (may be repeated)")
	f.BoolVar(&p.paused, "paused", false, "let it rest until it is resumed")
	return cmd
}

// statement renders SET FLUSH POLICY.
func (p *policyOptions) statement(table string) (string, error) {
	var list []string
	add := func(name, value string) {
		if value != "" {
			list = append(list, name+" = "+value)
		}
	}
	text := func(s string) string {
		if s == "" {
			return ""
		}
		return strings.TrimSpace(sqlclient.Literal(s))
	}
	number := func(n int64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	add("interval", text(p.interval))
	add("rows", number(p.rows))
	add("bytes", text(p.bytes))
	add("min_rows", number(p.minRows))
	add("older_than", text(p.olderThan))
	add("age_column", p.ageColumn) // a name in SQL
	add("keep_rows", number(p.keepRows))
	add("where", text(p.where))
	if p.storage != "" {
		add("storage", parse.QuoteName(p.storage))
	}
	if len(p.partitionBy) > 0 {
		add("partition_by", "("+strings.Join(p.partitionBy, ", ")+")")
	}
	if p.paused {
		add("paused", "true")
	}
	with, err := withList("policy set", p.with)
	if err != nil {
		return "", err
	}
	if with != "" {
		list = append(list, strings.TrimSuffix(strings.TrimPrefix(with, " WITH ("), ")"))
	}
	if len(list) == 0 {
		return "", &fail.Usage{Msg: "policy set: say when to flush", Todo: "--interval '1 hour', --rows 1000000 or --bytes 1GB"}
	}
	return "ALTER TABLE " + table + " SET FLUSH POLICY (" + strings.Join(list, ", ") + ")", nil
}

func newPolicyShow(env *Env) *cobra.Command {
	return tableCommand(env, "show", "Show a table's flush policy, and what became of it", func(table string) string { return "SHOW FLUSH POLICY FOR " + table })
}

func newPolicyChange(env *Env, verb, short string) *cobra.Command {
	return tableCommand(env, verb, short, func(table string) string {
		return "ALTER TABLE " + table + " " + strings.ToUpper(verb) + " FLUSH POLICY"
	})
}

// tableCommand sends a statement about one table.
func tableCommand(env *Env, verb, short string, statement func(table string) string) *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use: verb + " TABLE", Short: short, Args: args("TABLE"),
		RunE:              func(cmd *cobra.Command, given []string) error { return o.send(cmd, env, statement(given[0])) },
		ValidArgsFunction: completeTable(&o),
	}
	o.flags(cmd)
	return cmd
}

func newPolicyList(env *Env) *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use: "list", Short: "List flush policies, and what became of them", Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.send(cmd, env, "SHOW FLUSH POLICIES") },
	}
	o.flags(cmd)
	return cmd
}

// completeTable lists the tables that there are for a shell's Tab. Where no server answers there are none.
func completeTable(o *clientOptions) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(given) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := o.connect(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		rows, err := c.Rows(cmd.Context(), sqlclient.QuotedNames)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, r := range rows {
			if words.HasPrefixFold(r["name"], word) {
				names = append(names, r["name"])
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
