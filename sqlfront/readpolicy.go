package sqlfront

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// Bounds of a policy.
const (
	minPolicyInterval = time.Second
	maxPolicyInterval = 36_500 * 24 * time.Hour
	maxPolicyRows     = 1_000_000_000_000_000
	maxKeepRows       = 1_000_000_000_000
)

// policyOptions are the options of SET FLUSH POLICY: its own, and those of the flushes that it starts.
var policyOptions = slices.Concat([]option{
	{"interval", anything},
	{"rows", between(1, maxPolicyRows)},
	{"bytes", threshold},
	{"min_rows", between(1, maxPolicyRows)},
	{"older_than", anything},
	{"where", anything},
	{"paused", boolean},
}, flushOptions)

// threshold is a size that may be larger than one of a chunk or a file.
func threshold(text string) (string, error) {
	if digits, ok := strings.CutSuffix(text, "TB"); ok {
		if n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64); err == nil && n > 0 && n <= 1<<13 {
			return strconv.FormatInt(n<<40, 10), nil
		}
	}
	v, err := size(text)
	if err != nil {
		return "", invalid("expected a size such as '1GB', at most 8192TB, not \"%s\"", text)
	}
	return v, nil
}

// readPolicy reads what a policy says, with the client's rights and settings.
func (r *request) readPolicy(ctx context.Context, t target, s *parse.SetPolicy) (p PolicyRule, paused bool, err error) {
	params, err := readOptionsOf(policyOptions, s.Options, "wait", "unregistered")
	if err != nil {
		return p, false, err
	}
	if err := mayFireTriggers(t.actor, params); err != nil {
		e := *sqlError(err, 0)
		e.Position = optionNamed(s.Options, "triggers").Pos
		return p, false, &e
	}
	if params["interval"] == "" && params["rows"] == "" && params["bytes"] == "" {
		return p, false, &pgwire.Error{Code: codeInvalidValue, Position: s.ListPos, Message: "the policy says not when to flush",
			Hint: "it takes one at least of interval = '1 hour', rows = 1000000 and bytes = '1GB'; to flush at set times, use a schedule"}
	}
	if params["interval"] != "" {
		if p.Interval, err = r.policyInterval(ctx, optionNamed(s.Options, "interval")); err != nil {
			return p, false, err
		}
	}
	var age *parse.Age
	if o := optionNamed(s.Options, "older_than"); o.Name != "" {
		age = &parse.Age{Interval: o.Value, IntervalPos: o.ValuePos}
	}
	if err = r.settleAges(ctx, t, age, s.Options, params); err != nil {
		return p, false, err
	}
	if o := optionNamed(s.Options, "where"); o.Name != "" {
		if params["where"], err = r.policyPredicate(ctx, t, o); err != nil {
			return p, false, err
		}
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(params[name], 10, 64) // it was read as a number before
		return n
	}
	p.Rows, p.Bytes, p.MinRows = number("rows"), number("bytes"), max(number("min_rows"), 1)
	paused = params["paused"] != ""
	for _, own := range []string{"interval", "rows", "bytes", "min_rows", "paused"} {
		delete(params, own)
	}
	p.Flush = params
	return p, paused, nil
}

// optionNamed finds an option of a list, or returns the zero one.
func optionNamed(list []parse.Option, name string) parse.Option {
	for _, o := range list {
		if o.Name == name {
			return o
		}
	}
	return parse.Option{}
}

// policyInterval lets PostgreSQL read an interval. A day has 24 hours: it counts from a flush, and not by a calendar.
func (r *request) policyInterval(ctx context.Context, o parse.Option) (time.Duration, error) {
	bad := func(hint, format string, args ...any) error {
		return &pgwire.Error{Code: codeInvalidValue, Position: o.ValuePos, Hint: hint,
			Message: fmt.Sprintf("invalid value for option \"interval\": \"%s\" %s", o.Value, fmt.Sprintf(format, args...))}
	}
	var rows [][]*string
	err := r.pinned(ctx, func() (err error) {
		rows, err = r.up.Query(ctx, `
			SELECT isfinite(i), extract(year FROM i) * 12 + extract(month FROM i),
			       extract(day FROM i)::float8 * 86400 + extract(hour FROM i)::float8 * 3600 + extract(minute FROM i)::float8 * 60 + extract(second FROM i)::float8
			FROM (SELECT $1::interval AS i) AS x`, o.Value)
		return err
	})
	if err != nil {
		return 0, unreadable(err, o.ValuePos, "for example: interval = '5 minutes'")
	}
	seconds, err := strconv.ParseFloat(str(rows[0][2]), 64)
	switch {
	case str(rows[0][0]) != "t" || err != nil:
		return 0, bad("", "is infinite")
	case strings.Trim(str(rows[0][1]), "0.-") != "":
		return 0, bad("for flushes by the calendar, use a schedule", "counts months, which are not all as long")
	case seconds < minPolicyInterval.Seconds():
		return 0, bad("", "is shorter than a second")
	case seconds > maxPolicyInterval.Seconds():
		return 0, bad("", "is longer than 36500 days")
	}
	return time.Duration(math.Round(seconds*1000)) * time.Millisecond, nil
}

// policyPredicate checks the predicate that an option holds.
func (r *request) policyPredicate(ctx context.Context, t target, o parse.Option) (string, error) {
	place := func(err error) error { // into the constant, if its text stands there as it reads
		e := *sqlError(err, 0)
		switch {
		case o.TextPos == 0, e.Position == 0:
			e.Position = o.ValuePos
		default:
			e.Position += o.TextPos - 1
		}
		return &e
	}
	pred, err := parse.ParsePredicate(o.Value, &parse.Options{BackslashQuotes: r.up.Setting("standard_conforming_strings") == "off"})
	if err != nil {
		return "", place(err)
	}
	text, err := r.checkPredicateOf(ctx, t, pred, &predicateUse{
		what:  "ALTER TABLE … SET FLUSH POLICY with a condition",
		clock: "a policy holds for long, and the time in its condition would stand still", instead: "older_than = '7 days' counts anew for each flush; age_column names the column",
	})
	if err != nil {
		return "", place(err)
	}
	return text, nil
}
