package option

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Error is an option that no job can have.
type Error struct {
	Option string
	Item   string // of a list, if one is at fault
	Msg    string
	Hint   string
}

func (e *Error) Error() string { return e.Msg }

// Int reads a whole number.
func Int(v string, lo, hi int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < lo || n > hi {
		return 0, fmt.Errorf("expected a whole number from %d to %d", lo, hi)
	}
	return n, nil
}

// Bytes reads a number of bytes, or one with the units that PostgreSQL uses in its settings.
func Bytes(v string, lo, hi int64) (int64, error) {
	digits := strings.TrimRight(v, "kMGBi ")
	unit, ok := map[string]int64{"": 1, "B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[strings.TrimSpace(v[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n <= 0 || n > hi/unit || n*unit < lo {
		return 0, fmt.Errorf("expected a size from %d to %d bytes, such as 64MB", lo, hi)
	}
	return n * unit, nil
}

// Duration reads milliseconds, or a number with a unit.
func Duration(v string, hi time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if ms, msErr := strconv.Atoi(v); msErr == nil {
		d, err = time.Duration(ms)*time.Millisecond, nil
	}
	if err != nil || d <= 0 || d > hi {
		return 0, fmt.Errorf("expected a time up to %s, in milliseconds or such as 200ms", hi)
	}
	return d, nil
}

// OneOf reports whether v is yes; no is the only other word.
func OneOf(v, yes, no string) (bool, error) {
	switch v {
	case yes:
		return true, nil
	case no:
		return false, nil
	}
	return false, fmt.Errorf("expected %s or %s", yes, no)
}

// Bool reads true or false, and the other words that PostgreSQL has for them.
func Bool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "true", "on", "yes", "1":
		return true, nil
	case "false", "off", "no", "0":
		return false, nil
	}
	return false, fmt.Errorf("expected true or false")
}
