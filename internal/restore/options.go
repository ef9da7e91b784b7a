package restore

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/option"
)

// Options are what a restore was asked to do, beside which table.
type Options struct {
	Where         string        // predicate in PostgreSQL's deparsed form, or ""
	FromJob       string        // only rows that this job moved, or ""
	Parallelism   int           // segments at once
	LockTimeout   time.Duration // one wait for a lock; 0: the session's default
	SkipConflicts bool          // leave rows cold that a constraint of the table forbids
	DropColumns   []string      // columns of segments that may get lost, for the table has them no more
	FireTriggers  bool          // restore although INSERT triggers will run
	Replicate     bool          // restore although subscribers will insert the rows too
}

// options holds, for each known parameter, how its text is read.
var options = map[string]func(o *Options, v string) error{
	"where":    func(o *Options, v string) error { o.Where = v; return nil },
	"from_job": func(o *Options, v string) error { o.FromJob = v; return nil },
	"parallelism": func(o *Options, v string) (err error) {
		o.Parallelism, err = option.Int(v, 1, jobstep.MaxParallelism)
		return
	},
	"lock_timeout": func(o *Options, v string) (err error) {
		o.LockTimeout, err = option.Duration(v, jobstep.MaxLockTimeout)
		return
	},
	"on_conflict": func(o *Options, v string) (err error) {
		o.SkipConflicts, err = option.OneOf(v, "skip", "error")
		return
	},
	"drop_columns": func(o *Options, v string) (err error) { o.DropColumns, err = layout.Columns(v); return },
	"triggers": func(o *Options, v string) (err error) {
		o.FireTriggers, err = option.OneOf(v, "fire", "refuse")
		return
	},
	"replicate": func(o *Options, v string) (err error) { o.Replicate, err = option.Bool(v); return },
}

// ParseOptions reads the parameters of a restore. The error is *option.Error.
func ParseOptions(params map[string]string) (Options, error) {
	o := Options{Parallelism: jobstep.DefaultParallelism}
	names := make([]string, 0, len(params))
	for name := range params {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		read, ok := options[name]
		if !ok {
			return Options{}, &option.Error{Option: name, Msg: fmt.Sprintf("unknown option %q of RESTORE", name),
				Hint: "Known options: drop_columns, lock_timeout, on_conflict, parallelism, replicate, triggers."}
		}
		if err := read(&o, params[name]); err != nil {
			return Options{}, &option.Error{Option: name, Msg: fmt.Sprintf("option %s = %s: %v", name, strconv.Quote(params[name]), err)}
		}
	}
	return o, nil
}

// Staged reports whether rows go through a temporary table: some of them may stay cold.
func (o Options) Staged() bool { return o.Where != "" || o.SkipConflicts }

// Consequences are what the options allow that would be refused.
func (o Options) Consequences() hot.InsertionOptions {
	return hot.InsertionOptions{FireTriggers: o.FireTriggers, Replicate: o.Replicate, Staging: o.Staged()}
}
