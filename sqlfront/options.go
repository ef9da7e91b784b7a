package sqlfront

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// An option of a statement: its name, and the parameter's value that a text means. "" leaves the parameter out, which is the
// default.
type option struct {
	name  string
	value func(text string) (string, error)
}

// flushOptions lists the options of FLUSH in the order in which an error names them.
var flushOptions = slices.Concat([]option{
	{"wait", boolean},
	{"as_text", list},
	{"parallelism", between(1, 64)},
	{"chunk_bytes", size},
	{"chunk_time", orOff(milliseconds)},
	{"lock_timeout", milliseconds},
	{"verify", oneOf("footer", "full")},
	{"triggers", oneOf("fire")},
	{"replicate", boolean},
	{"keep_rows", between(1, maxKeepRows)},
	{"age_column", anything},
	{"on_unrepresentable", orDefault("error", oneOf("error", "null"))},
	{"skip_referenced", boolean},
	{"storage", anything},
	{"max_lock_waiters", between(0, 10_000)},
	{"max_replication_lag", lag},
	{"max_rows_per_second", between(1, 1_000_000_000)},
	{"unregistered", boolean},
	{"vacuum", said},
	{"whole_partition", whole},
}, layoutOptions)

// readOptions checks a WITH list of FLUSH. Names in without are not known to the statement.
func readOptions(list []parse.Option, without ...string) (map[string]string, error) {
	return readOptionsOf(flushOptions, list, without...)
}

// readOptionsOf checks a WITH list of a statement that knows the given options, but for those in without.
func readOptionsOf(known []option, list []parse.Option, without ...string) (map[string]string, error) {
	params := map[string]string{}
	for _, o := range list {
		opt, names := find(known, o.Name, without)
		if opt == nil {
			return nil, &pgwire.Error{Code: codeInvalidValue, Position: o.Pos,
				Message: fmt.Sprintf("unknown option \"%s\"", o.Name), Hint: "options are " + strings.Join(names, ", ")}
		}
		if o.List != nil {
			value, err := readList(o)
			if err != nil {
				return nil, err
			}
			params[o.Name] = value
			continue
		}
		value, err := opt.value(o.Value)
		if err != nil {
			e := sqlError(err, 0)
			return nil, &pgwire.Error{Code: e.Code, Position: o.ValuePos, Hint: e.Hint,
				Message: fmt.Sprintf("invalid value for option \"%s\": %s", o.Name, e.Message)}
		}
		if value != "" {
			params[o.Name] = value
		}
	}
	return params, nil
}

func find(known []option, name string, without []string) (*option, []string) {
	var names []string
next:
	for i := range known {
		for _, w := range without {
			if known[i].name == w {
				continue next
			}
		}
		if known[i].name == name {
			return &known[i], nil
		}
		names = append(names, known[i].name)
	}
	return nil, names
}

func invalid(format string, args ...any) error {
	return &pgwire.Error{Code: codeInvalidValue, Message: fmt.Sprintf(format, args...)}
}

func anything(text string) (string, error) {
	if text == "" {
		return "", invalid("it is empty")
	}
	return text, nil
}

func boolean(text string) (string, error) {
	switch strings.ToLower(text) {
	case "true", "on", "yes", "1":
		return "true", nil
	case "false", "off", "no", "0":
		return "", nil
	}
	return "", invalid("expected true or false, not \"%s\"", text)
}

// said is a boolean whose false is not the same as nothing.
func said(text string) (string, error) {
	v, err := boolean(text)
	if err == nil && v == "" {
		v = "false"
	}
	return v, err
}

// whole is how partitions are taken of which no row is to stay.
func whole(text string) (string, error) {
	word, err := oneOf("delete", "truncate", "detach")(text)
	if word == "delete" {
		word = ""
	}
	return word, err
}

func between(low, high int64) func(string) (string, error) {
	return func(text string) (string, error) {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < low || n > high {
			return "", invalid("expected a number from %d to %d, not \"%s\"", low, high, text)
		}
		return strconv.FormatInt(n, 10), nil
	}
}

func oneOf(words ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		for _, w := range words {
			if strings.EqualFold(text, w) {
				return w, nil
			}
		}
		return "", invalid("expected %s, not \"%s\"", strings.Join(words, " or "), text)
	}
}

// orDefault leaves a parameter out whose value is the default.
func orDefault(value string, read func(string) (string, error)) func(string) (string, error) {
	return func(text string) (string, error) {
		got, err := read(text)
		if got == value {
			got = ""
		}
		return got, err
	}
}

// units as PostgreSQL's settings spell them.
var units = []struct {
	suffix string
	bytes  int64
}{{"kB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}, {"B", 1}, {"", 1}}

func size(text string) (string, error) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n <= 0 || n > (1<<40)/u.bytes {
			break
		}
		return strconv.FormatInt(n*u.bytes, 10), nil
	}
	return "", invalid("expected a size such as '64MB', not \"%s\"", text)
}

func milliseconds(text string) (string, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 && n < int64(time.Hour/time.Millisecond) {
		return strconv.FormatInt(n, 10), nil
	}
	if d, err := time.ParseDuration(strings.ReplaceAll(text, " ", "")); err == nil && d >= time.Millisecond && d < time.Hour {
		return strconv.FormatInt(d.Milliseconds(), 10), nil
	}
	return "", invalid("expected a time such as '200ms', not \"%s\"", text)
}

// orOff lets an option be switched off.
func orOff(value func(string) (string, error)) func(string) (string, error) {
	return func(text string) (string, error) {
		switch strings.ToLower(text) {
		case "off", "false", "no", "0":
			return "off", nil
		}
		return value(text)
	}
}

// lag reads a size or a time, each with its unit: a number alone could be either.
func lag(text string) (string, error) {
	if strings.Trim(text, "0123456789. ") != "" {
		if v, err := size(text); err == nil {
			return v + "B", nil
		}
		if v, err := milliseconds(text); err == nil {
			return v + "ms", nil
		}
	}
	return "", invalid("expected a size such as '512MB' or a time such as '30s', with its unit, not \"%s\"", text)
}
