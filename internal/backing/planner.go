package backing

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/option"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

// Planner lets the front-end look at tables as a flush would.
type Planner struct{ Surveyor *flush.Surveyor }

var _ sqlfront.Planner = (*Planner)(nil)

// Check implements sqlfront.Planner.
func (p *Planner) Check(ctx context.Context, table jobmanager.Table, params map[string]string) (*sqlfront.Refusal, error) {
	return refusalOf(p.Surveyor.Check(ctx, table.Namespace, table.Name, params))
}

// CheckRestore is Check for a restore.
func (p *Planner) CheckRestore(ctx context.Context, table jobmanager.Table, params map[string]string) (*sqlfront.Refusal, error) {
	return refusalOf(p.Surveyor.CheckRestore(ctx, table.Namespace, table.Name, params))
}

func refusalOf(err error) (*sqlfront.Refusal, error) {
	var no *flush.RefusedError
	if errors.As(err, &no) {
		r := refusal(no)
		return &r, nil
	}
	return nil, planError(err)
}

func refusal(no *flush.RefusedError) sqlfront.Refusal {
	return sqlfront.Refusal{Table: no.Table, Code: no.Refusal.Code, Message: no.Refusal.Msg, Hint: no.Refusal.Hint}
}

// planError says in the front-end's words what kept a look from being had.
func planError(err error) error {
	var bad *option.Error
	switch {
	case errors.Is(err, hot.ErrNoTable):
		return fmt.Errorf("%w: %w", sqlfront.ErrNoTable, err)
	case errors.As(err, &bad):
		return &jobmanager.SpecError{Param: bad.Option, Item: bad.Item, Msg: bad.Msg, Hint: bad.Hint}
	}
	return err
}

// Outlook implements sqlfront.Planner.
func (p *Planner) Outlook(ctx context.Context, table jobmanager.Table, params map[string]string) (*sqlfront.Outlook, error) {
	s, err := p.Surveyor.Survey(ctx, table.Namespace, table.Name, params)
	if err != nil {
		return nil, planError(err)
	}
	o := &sqlfront.Outlook{Limit: ageCondition(s), Kept: keptCondition(s), Parallelism: s.Options.Parallelism, Storage: s.Storage, Location: s.Location}
	o.Layout = layoutOutlook(s)
	for i := range s.Refusals {
		o.Refusals = append(o.Refusals, refusal(&s.Refusals[i]))
	}
	for i := range s.Leaves {
		o.Leaves = append(o.Leaves, leafOutlook(&s.Leaves[i]))
	}
	return o, nil
}

// layoutOutlook says how files are laid out, where that is not the default, and what it costs.
func layoutOutlook(s *flush.Survey) (out []sqlfront.Property) {
	l := s.Options.Layout
	add := func(name, value, detail string) {
		if value != "" {
			out = append(out, sqlfront.Property{Name: name, Value: value, Detail: detail})
		}
	}
	number := func(name string, n int64, detail string) {
		if n > 0 {
			add(name, strconv.FormatInt(n, 10), detail)
		}
	}
	if s.Path != layout.DefaultPath {
		add("path", s.Path, "template of the directories of files")
	}
	add("partition_by", l.PartitionBy, "one value to a file; times are cut in UTC")
	add("order_by", l.OrderBy, "inside each file")
	if s.Sorted {
		add("sort", "by PostgreSQL", fmt.Sprintf("on the database server; beyond work_mem in temporary files, about %d MB",
			max(2*s.Options.ChunkBytes*int64(s.Options.Parallelism)>>20, 1)))
	}
	number("file_bytes", l.FileBytes, "a file ends when it is about so large")
	number("row_group_bytes", l.RowGroupBytes, "in memory, for each chunk that moves")
	number("row_group_rows", l.RowGroupRows, "at most, to the nearest 256")
	add("codec", l.Codec, "of pages")
	add("bloom", l.Bloom, "columns with bloom filters")
	return out
}

// ageCondition spells what OLDER THAN means, for people.
func ageCondition(s *flush.Survey) string {
	if s.Limit == nil || len(s.Leaves) == 0 {
		return ""
	}
	value, err := s.Leaves[0].Table.AgeValue(s.Options.AgeColumn, *s.Limit)
	if err != nil {
		return ""
	}
	return parse.QuoteName(s.Options.AgeColumn) + " < " + value
}

// keptCondition spells which rows keep_rows would leave, for people.
func keptCondition(s *flush.Survey) string {
	switch {
	case s.Keep == nil:
		return ""
	case s.Keep.None:
		return "the table has no more rows than that: all stay"
	}
	return fmt.Sprintf("rows stay with %s >= '%s', if the flush started now; and those without a value", parse.QuoteName(s.Options.AgeColumn), s.Keep.Value)
}

func leafOutlook(l *flush.LeafSurvey) sqlfront.LeafOutlook {
	t := &l.Table
	out := sqlfront.LeafOutlook{
		Name: t.Schema + "." + t.Name, Rows: l.Rows, AllRows: t.RowsEstimate, Bytes: l.Bytes, Chunks: l.Chunks, Blocks: int64(t.Blocks),
		Way: sqlfront.Way(l.Way), Why: l.Why, Key: l.Key, Cost: l.Cost, BlockCost: l.BlockCost, Vacuum: l.Vacuum, VacuumDenied: l.VacuumDenied,
		ChunkBlocks: int64(l.BlocksPerChunk), Files: l.Files(), Directory: l.Dir, Scan: l.Scan, Index: l.Index, Publications: t.Publications,
	}
	for _, g := range t.DeleteTriggers {
		out.Triggers = append(out.Triggers, g.Name)
	}
	for _, fk := range t.InboundFKs {
		out.ForeignKeys = append(out.ForeignKeys, fmt.Sprintf("%s of %s.%s", fk.Name, fk.Schema, fk.Table))
	}
	return out
}
