package flush

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/option"
)

// Bounds and defaults of a flush's options.
const (
	DefaultChunkBytes  = 64 << 20
	MaxChunkBytes      = 16 << 30
	DefaultChunkTime   = 5 * time.Second
	MinChunkTime       = 10 * time.Millisecond
	MaxChunkTime       = time.Hour
	MaxRowsPerSecond   = 1_000_000_000
	MaxLag             = 1 << 50 // bytes
	MaxLagTime         = 24 * time.Hour
	MaxLockWaiters     = 10_000
	MaxKeepRows        = 1_000_000_000_000
	maxSkipLockedAfter = 2 // lock timeouts before rows are left to those who hold them
)

// Options are what a flush was asked to do, beside which table.
type Options struct {
	Where           string        // predicate in PostgreSQL's deparsed form, or ""
	OlderThan       string        // an interval as PostgreSQL reads it, or "": rows of any age
	AgeColumn       string        // the column that OlderThan and KeepRows are about
	KeepRows        int64         // so many of the newest rows stay, by AgeColumn; 0: none for being new
	TimeZone        string        // whose days and months OlderThan counts, and whose time columns without a zone hold; "": UTC
	Parallelism     int           // chunks at once
	ChunkBytes      int64         // bytes of heap per chunk
	LockTimeout     time.Duration // one wait for a lock; 0: the session's default
	VerifyFull      bool          // read the whole object back before COMMIT, and not only its footer
	FireTriggers    bool          // flush although DELETE triggers will run
	Replicate       bool          // flush although subscribers will delete the rows too
	SkipReferenced  bool          // leave rows that foreign keys refer to
	Storage         string        // name of the storage, or "" for the default one
	NullUnrepresent bool          // write NULL for values without a place in their Parquet type
	AsText          []string      // columns that are stored as text, whatever their type
	Layout          layout.Layout
	WholePartition  string // how partitions of which no row is to stay are taken: delete, truncate or detach; "": delete
	Vacuum          string // "true": VACUUM at the end; "false": never; "": only partitions of which no row is to stay

	MaxRowsPerSecond int64         // rows to move in a second; 0: no limit
	ChunkTime        time.Duration // how long the transaction of a chunk should last at most; 0: as it comes
	MaxLagBytes      int64         // wait while replication is behind by more; 0: no limit
	MaxLagTime       time.Duration // the same in time
	MaxLockWaiters   *int          // wait while more sessions wait for locks of the table or of this job; nil: no limit
}

func (o Options) checksLoad() bool {
	return o.MaxLagBytes > 0 || o.MaxLagTime > 0 || o.MaxLockWaiters != nil
}

// options holds, for each known parameter, how its text is read.
var options = map[string]func(o *Options, v string) error{
	"where":      func(o *Options, v string) error { o.Where = v; return nil },
	"older_than": func(o *Options, v string) error { o.OlderThan = v; return nil },
	"age_column": func(o *Options, v string) error { o.AgeColumn = v; return nil },
	"time_zone":  func(o *Options, v string) error { o.TimeZone = v; return nil },
	"keep_rows": func(o *Options, v string) (err error) {
		n, err := option.Int(v, 1, MaxKeepRows)
		o.KeepRows = int64(n)
		return err
	},
	"parallelism": func(o *Options, v string) (err error) {
		o.Parallelism, err = option.Int(v, 1, jobstep.MaxParallelism)
		return
	},
	"chunk_bytes": func(o *Options, v string) (err error) {
		o.ChunkBytes, err = option.Bytes(v, jobstep.MinChunkBytes, MaxChunkBytes)
		return
	},
	"chunk_time": func(o *Options, v string) (err error) { o.ChunkTime, err = chunkTime(v); return },
	"max_rows_per_second": func(o *Options, v string) (err error) {
		n, err := option.Int(v, 1, MaxRowsPerSecond)
		o.MaxRowsPerSecond = int64(n)
		return err
	},
	"max_replication_lag": func(o *Options, v string) (err error) { o.MaxLagBytes, o.MaxLagTime, err = ParseLag(v); return },
	"max_lock_waiters": func(o *Options, v string) (err error) {
		n, err := option.Int(v, 0, MaxLockWaiters)
		o.MaxLockWaiters = &n
		return err
	},
	"lock_timeout": func(o *Options, v string) (err error) {
		o.LockTimeout, err = option.Duration(v, jobstep.MaxLockTimeout)
		return
	},
	"verify": func(o *Options, v string) (err error) { o.VerifyFull, err = option.OneOf(v, "full", "footer"); return },
	"triggers": func(o *Options, v string) (err error) {
		o.FireTriggers, err = option.OneOf(v, "fire", "refuse")
		return
	},
	"replicate":       func(o *Options, v string) (err error) { o.Replicate, err = option.Bool(v); return },
	"skip_referenced": func(o *Options, v string) (err error) { o.SkipReferenced, err = option.Bool(v); return },
	"storage":         func(o *Options, v string) error { o.Storage = v; return nil },
	"as_text":         func(o *Options, v string) (err error) { o.AsText, err = layout.Columns(v); return },
	"vacuum":          func(o *Options, v string) error { return o.readVacuum(v) },
	"whole_partition": func(o *Options, v string) error { return o.readWhole(v) },
	"on_unrepresentable": func(o *Options, v string) (err error) {
		o.NullUnrepresent, err = option.OneOf(v, "null", "error")
		return
	},
}

// ParseOptions reads the parameters of a flush. The error is *option.Error.
func ParseOptions(params map[string]string) (Options, error) {
	o := Options{Parallelism: jobstep.DefaultParallelism, ChunkBytes: DefaultChunkBytes, ChunkTime: DefaultChunkTime}
	names := make([]string, 0, len(params))
	for name := range params {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		read, ok := optionReader(name)
		if !ok {
			return Options{}, &option.Error{Option: name, Msg: fmt.Sprintf("unknown option %q of FLUSH", name), Hint: "Known options: " + strings.Join(knownOptions(), ", ") + "."}
		}
		if err := read(&o, params[name]); err != nil {
			return Options{}, layout.OptionError(name, params[name], err)
		}
	}
	switch {
	case o.KeepRows > 0 && o.AgeColumn == "":
		return Options{}, &option.Error{Option: "keep_rows", Msg: "keep_rows needs age_column, which tells which rows are the newest"}
	case (o.OlderThan == "" && o.KeepRows == 0) != (o.AgeColumn == ""):
		return Options{}, &option.Error{Option: "older_than", Msg: "older_than and age_column go together"}
	}
	return o, nil
}

// optionReader finds how the text of a parameter is read.
func optionReader(name string) (func(o *Options, v string) error, bool) {
	if read, ok := options[name]; ok {
		return read, true
	}
	read, ok := layout.Option(name)
	return func(o *Options, v string) error { return read(&o.Layout, v) }, ok
}

// knownOptions lists what a user may write; predicate and age have clauses of their own.
func knownOptions() []string {
	known := layout.OptionNames()
	for name := range options {
		if !slices.Contains([]string{"where", "older_than", "time_zone"}, name) {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	return known
}

// chunkTime reads a time, or off.
func chunkTime(v string) (time.Duration, error) {
	if v == "off" || v == "0" {
		return 0, nil
	}
	d, err := option.Duration(v, MaxChunkTime)
	if err == nil && d < MinChunkTime {
		err = fmt.Errorf("expected off, or a time from %s to %s", MinChunkTime, MaxChunkTime)
	}
	return d, err
}

// ParseLag reads a limit of max_replication_lag: bytes with a unit, or a time with one. A number alone could be either.
func ParseLag(v string) (size int64, long time.Duration, err error) {
	v = strings.ReplaceAll(v, " ", "")
	if digits := strings.TrimLeft(v, "0123456789."); digits != "" {
		if size, err = option.Bytes(v, 1, MaxLag); err == nil {
			return size, 0, nil
		}
		if long, err = time.ParseDuration(v); err == nil && long >= time.Millisecond && long <= MaxLagTime {
			return 0, long, nil
		}
	}
	return 0, 0, fmt.Errorf("expected a size such as 512MB or a time such as 30s, with its unit")
}

func (o *Options) readWhole(v string) error {
	if o.WholePartition = v; v != wholeDelete && !o.wholes() {
		return fmt.Errorf("expected %s, %s or %s", wholeDelete, wholeTruncate, wholeDetach)
	}
	return nil
}

// readVacuum keeps apart what was said and what was not.
func (o *Options) readVacuum(v string) error {
	yes, err := option.Bool(v)
	o.Vacuum = strconv.FormatBool(yes)
	return err
}
