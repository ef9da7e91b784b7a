package embedtemporal

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
)

// logger gives the server's messages to slog. The server believes that Fatal ends the process; here it ends the goroutine
// that called it and reports the failure, so that whoever embeds the server decides.
type logger struct {
	out   *slog.Logger
	level slog.Leveler
	state *logState
}

// logState is shared by a logger and those derived from it.
type logState struct {
	quiet atomic.Bool // while stopping: services complain about each other's absence

	once   sync.Once
	failed chan struct{}
	err    error // read after failed is closed
}

var (
	_ log.Logger      = (*logger)(nil)
	_ log.WithLogger  = (*logger)(nil)
	_ log.SLogWrapper = (*logger)(nil)
)

func newLogger(out *slog.Logger, level slog.Leveler) *logger {
	return &logger{out: out, level: level, state: &logState{failed: make(chan struct{})}}
}

func (l *logger) enabled(level slog.Level) bool {
	return level >= l.level.Level() && !l.state.quiet.Load()
}

func (l *logger) log(level slog.Level, msg string, tags []tag.Tag) {
	ctx := context.Background() // the server's interface carries none
	if l.enabled(level) && l.out.Enabled(ctx, level) {
		l.out.LogAttrs(ctx, level, msg, attrs(tags)...)
	}
}

func attrs(tags []tag.Tag) []slog.Attr {
	list := make([]slog.Attr, len(tags))
	for i, t := range tags {
		list[i] = slog.Any(t.Key(), t.Value())
	}
	return list
}

func (l *logger) Debug(msg string, tags ...tag.Tag)  { l.log(slog.LevelDebug, msg, tags) }
func (l *logger) Info(msg string, tags ...tag.Tag)   { l.log(slog.LevelInfo, msg, tags) }
func (l *logger) Warn(msg string, tags ...tag.Tag)   { l.log(slog.LevelWarn, msg, tags) }
func (l *logger) Error(msg string, tags ...tag.Tag)  { l.log(slog.LevelError, msg, tags) }
func (l *logger) DPanic(msg string, tags ...tag.Tag) { l.log(slog.LevelError, msg, tags) }

func (l *logger) Panic(msg string, tags ...tag.Tag) {
	l.log(slog.LevelError, msg, tags)
	panic(msg)
}

func (l *logger) Fatal(msg string, tags ...tag.Tag) {
	l.log(slog.LevelError, msg, tags)
	l.state.fail(&ServerError{Msg: msg, Err: causeIn(tags)})
	runtime.Goexit()
}

// causeIn finds the error among the tags, whose Value would only be its text.
func causeIn(tags []tag.Tag) error {
	for _, t := range tags {
		z, ok := t.(tag.ZapTag)
		if !ok {
			continue
		}
		if err, ok := z.Field().Interface.(error); ok {
			return err
		}
	}
	return nil
}

func (s *logState) fail(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.failed)
	})
}

// failure is why the server cannot go on, or nil.
func (s *logState) failure() error {
	select {
	case <-s.failed:
		return s.err
	default:
		return nil
	}
}

func (l *logger) With(tags ...tag.Tag) log.Logger {
	args := make([]any, len(tags))
	for i, a := range attrs(tags) {
		args[i] = a
	}
	return &logger{out: l.out.With(args...), level: l.level, state: l.state}
}

// SLog is for the parts of the server that use slog themselves.
func (l *logger) SLog() *slog.Logger {
	return slog.New(&levelHandler{Handler: l.out.Handler(), logger: l})
}

// levelHandler holds back what is below the logger's level.
type levelHandler struct {
	slog.Handler
	logger *logger
}

func (h *levelHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.logger.enabled(level) && h.Handler.Enabled(ctx, level)
}

func (h *levelHandler) WithAttrs(list []slog.Attr) slog.Handler {
	return &levelHandler{Handler: h.Handler.WithAttrs(list), logger: h.logger}
}

func (h *levelHandler) WithGroup(name string) slog.Handler {
	return &levelHandler{Handler: h.Handler.WithGroup(name), logger: h.logger}
}
