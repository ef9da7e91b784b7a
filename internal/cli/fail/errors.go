package fail

import "fmt"

// Usage is a command line that makes no sense.
type Usage struct {
	Msg  string
	Todo string // "": nothing to say
}

// Error implements error.
func (e *Usage) Error() string { return e.Msg }

// Hint says what to do.
func (e *Usage) Hint() string { return e.Todo }

// Usagef returns a *Usage without a hint.
func Usagef(format string, args ...any) error { return &Usage{Msg: fmt.Sprintf(format, args...)} }

// Unreachable is a server that does not answer, or does not let us in.
type Unreachable struct {
	What string // "no running spillway found in ./spillway-data"
	Todo string // its hint
	Err  error  // may be nil
}

// Error implements error.
func (e *Unreachable) Error() string {
	if e.Err == nil {
		return e.What
	}
	return e.What + ": " + e.Err.Error()
}

// Unwrap returns what stands behind it.
func (e *Unreachable) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *Unreachable) Hint() string { return e.Todo }

// hintedError adds what to do to an error of another room.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }
func (e *hintedError) Hint() string  { return e.hint }

// Hint puts to an error what to do about it.
func Hint(err error, format string, args ...any) error {
	return &hintedError{err: err, hint: fmt.Sprintf(format, args...)}
}
