package parse

import (
	"strconv"
	"strings"
)

// SQLSTATEs of this package's errors.
const (
	SyntaxError      = "42601"
	NotSupported     = "0A000"
	InvalidParameter = "22023"
	UndefinedParam   = "42P02"
)

// Error is the only error that this package returns.
type Error struct {
	Pos      int    // in characters from 1; 0 where no place is to blame
	Msg      string // as PostgreSQL would phrase it, then what was expected
	Hint     string // what to do, or ""
	SQLState string
	Expected []string // what could have stood at Pos
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Msg)
	if e.Pos > 0 {
		b.WriteString(" (at character " + strconv.Itoa(e.Pos) + ")")
	}
	return b.String()
}

// orList renders ["A", "B", "C"] as "A, B or C".
func orList(words []string) string {
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
