package sqlfront

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// defaultsOfPolicy are the options that a FLUSH takes over from the policy of its table: where files lie, and what is in them. Which
// rows move, the statement says alone; and so it is with what others notice of it, such as its pace, locks and triggers.
var defaultsOfPolicy = []string{
	"as_text", "bloom", "chunk_bytes", "codec", "file_bytes", "on_unrepresentable", "order_by", "parallelism", "partition_by", "path",
	"row_group_bytes", "row_group_rows", "storage", "verify",
}

// policyDefaults fills in what the statement does not name and the policy of its table does. It returns the names of these options.
func (r *request) policyDefaults(ctx context.Context, table jobmanager.Table, opts []parse.Option, params map[string]string) ([]string, error) {
	if r.opt.Policies == nil {
		return nil, nil
	}
	p, err := r.opt.Policies.Policy(ctx, table)
	if errors.Is(err, ErrNoPolicy) {
		return nil, nil
	}
	if err == nil && p.Unreadable != "" {
		err = &pgwire.Error{Code: codeNotReady, Message: fmt.Sprintf("the flush policy of table %s cannot be read, which says where its files go: %s", table, p.Unreadable),
			Hint: "a newer version may have set it; set it again, or ALTER TABLE … RESET FLUSH POLICY"}
	}
	if err != nil {
		return nil, err
	}
	var taken []string
	for _, name := range defaultsOfPolicy {
		if value := p.Flush[name]; value != "" && optionNamed(opts, name).Name == "" {
			params[name] = value
			taken = append(taken, name)
		}
	}
	return taken, nil
}

// ofPolicy says of an error about an option that the option is not the statement's.
func ofPolicy(err error, taken []string) error {
	var spec *jobmanager.SpecError
	if !errors.As(err, &spec) || !slices.Contains(taken, spec.Param) {
		return err
	}
	copied := *spec
	copied.Hint = strings.TrimPrefix(spec.Hint+"; the option comes from the table's flush policy", "; ")
	return &copied
}

// policyRests tells of a policy that a restore makes rest.
func (r *request) policyRests(ctx context.Context, t target) {
	if r.opt.Policies == nil {
		return
	}
	p, err := r.opt.Policies.Policy(ctx, t.table)
	if err != nil || p.PausedAt != nil {
		return
	}
	name := parse.Name{Schema: t.table.Namespace, Table: t.table.Name}
	r.notice(pgwire.Notice{Message: fmt.Sprintf("the flush policy of %s rests once rows come back, or it would move them again", t.table),
		Hint: fmt.Sprintf("ALTER TABLE %s RESUME FLUSH POLICY", name)})
}
