package sqlfront

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// Planner looks at tables as a flush would, with the worker's rights. It moves nothing and starts nothing.
type Planner interface {
	// Check returns the first reason why a flush cannot be run, or nil. It is asked before every job and must be quick;
	// planning looks again. *jobmanager.SpecError: the parameters do not fit the table. Any other error means that it could
	// not look.
	Check(ctx context.Context, table jobmanager.Table, params map[string]string) (*Refusal, error)
	// Outlook says what a flush would do. Reasons why it cannot are part of the answer.
	Outlook(ctx context.Context, table jobmanager.Table, params map[string]string) (*Outlook, error)
}

// Refusal is a reason to leave a table alone.
type Refusal struct {
	Table   string // schema.name; of a partition, if that is to blame
	Code    string // SQLSTATE
	Message string
	Hint    string
}

// Outlook is what a flush would do, if it started now.
type Outlook struct {
	Limit       string // what OLDER THAN would mean, as a condition; or ""
	Kept        string // the rows that keep_rows would leave, as a condition; or ""
	Parallelism int
	Storage     string
	Location    string // URL of the storage
	Refusals    []Refusal
	Layout      []Property // how files are laid out, as far as the flush or its storage says so
	Leaves      []LeafOutlook
}

// Property is one line of an explanation.
type Property struct{ Name, Value, Detail string }

// Way is how the rows of a leaf are found and cut.
type Way string

// The ways.
const (
	WayBlocks   Way = "blocks"   // ranges of blocks
	WayIndex    Way = "index"    // ranges of an index
	WayNone     Way = "none"     // no row can match
	WayTruncate Way = "truncate" // the whole partition is read and emptied
	WayDetach   Way = "detach"   // and detached
)

// LeafOutlook is the part of one leaf: the table itself, or a partition.
type LeafOutlook struct {
	Name         string // schema.name
	Rows         *int64 // to be moved, by PostgreSQL's estimate; nil: unknown
	AllRows      int64  // in the leaf, by the same
	Bytes        int64  // with indexes and TOAST
	Way          Way
	Why          string  // that way, and no other
	Key          string  // the column along which an index is cut, or ""
	Cost         float64 // of the index, by PostgreSQL's estimate
	BlockCost    float64 // of all blocks, where an index was thought of
	Vacuum       bool    // when its rows have moved
	VacuumDenied bool    // it would be, but for a right of the worker
	Chunks       int
	Blocks       int64
	ChunkBlocks  int64
	Files        int64
	Directory    string // within the storage
	Scan, Index  string // how PostgreSQL would look for the rows; "" without a condition
	Triggers     []string
	ForeignKeys  []string // of tables that refer to this one
	Publications []string
}

// checkPatience bounds the check before a job. A flush that could not be checked in time starts, and is checked when it is
// planned.
const checkPatience = 2 * time.Second

// refuse asks the planner whether a flush can run at all. Nothing may be held meanwhile.
func (r *request) refuse(ctx context.Context, t target, params map[string]string, pos int) error {
	if r.opt.Planner == nil {
		return nil
	}
	return r.refuseBy(ctx, r.opt.Planner.Check, t, params, pos)
}

// checkFunc returns the first reason why a job cannot be run, or nil.
type checkFunc = func(ctx context.Context, table jobmanager.Table, params map[string]string) (*Refusal, error)

func (r *request) refuseBy(ctx context.Context, check checkFunc, t target, params map[string]string, pos int) error {
	looking, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	no, err := check(looking, t.table, params)
	known, refused := r.refusal(ctx, t, no, err, pos)
	if !known {
		r.opt.Logger.Warn("job not checked before it starts", "table", t.table.String(), "error", err)
	}
	return refused
}

// refusal is what a check has said, as an error or nil. Not known: it could not look.
func (r *request) refusal(ctx context.Context, t target, no *Refusal, err error, pos int) (known bool, _ error) {
	var spec *jobmanager.SpecError
	switch {
	case ctx.Err() != nil:
		return true, context.Cause(ctx)
	case errors.Is(err, ErrNoTable):
		return true, &pgwire.Error{Code: codeUndefinedTable, Position: pos, Message: fmt.Sprintf("relation \"%s\" does not exist for the worker", t.table),
			Hint: "if this transaction made it, COMMIT first"}
	case errors.As(err, &spec):
		return true, spec
	case err != nil:
		return false, nil
	case no == nil:
		return true, nil
	}
	return true, &pgwire.Error{Code: no.Code, Position: pos, Message: fmt.Sprintf("table %s cannot be %s: %s", no.Table, r.deed, no.Message), Hint: no.Hint}
}
