package raftnode

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Attribute keys.
const (
	keyError = "error"
	keyPeer  = "peer"
	keyStep  = "step"
	keyTerm  = "term"
)

// hcLogger lets raft write to a slog.Logger. Raft repeats itself while a peer is away, at level error and several
// times a second: each message is written once per repeatEvery, and the rest are counted. An unreachable peer is the
// pool's daily bread, so errors become warnings; what ends the node reaches Config.Fatal.
type hcLogger struct {
	hclog.Logger // discards; for the parts of the interface that raft does not use
	to           *slog.Logger
	name         string
	implied      []any
	limit        *repeatLimit
}

const repeatEvery = 5 * time.Second

type repeatLimit struct {
	mu   sync.Mutex
	seen map[string]*repeated
}

type repeated struct {
	at    time.Time
	count int // suppressed since
}

// maxRepeats bounds the memory of the limit. Raft has some dozens of messages.
const maxRepeats = 256

func newHCLog(to *slog.Logger, name string) *hcLogger {
	return &hcLogger{Logger: hclog.NewNullLogger(), to: to, name: name, limit: &repeatLimit{seen: map[string]*repeated{}}}
}

// pass reports whether the message is due, and how many were suppressed before.
func (r *repeatLimit) pass(msg string, now time.Time) (bool, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seen[msg]
	if s == nil {
		if len(r.seen) >= maxRepeats {
			clear(r.seen)
		}
		s = &repeated{}
		r.seen[msg] = s
	} else if now.Sub(s.at) < repeatEvery {
		s.count++
		return false, 0
	}
	n := s.count
	s.at, s.count = now, 0
	return true, n
}

// Log implements hclog.Logger.
func (l *hcLogger) Log(level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case hclog.Info:
		to = slog.LevelInfo
	case hclog.Warn, hclog.Error:
		to = slog.LevelWarn
	}
	ctx := context.Background()
	if !l.to.Enabled(ctx, to) {
		return
	}
	attrs := []any{"part", l.name}
	if to == slog.LevelWarn {
		due, before := l.limit.pass(msg, time.Now())
		if !due {
			return
		}
		if before > 0 {
			attrs = append(attrs, "suppressed", before)
		}
	}
	for _, a := range append(l.implied[:len(l.implied):len(l.implied)], args...) {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			a = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		attrs = append(attrs, a)
	}
	l.to.Log(ctx, to, "raft: "+msg, attrs...)
}

// What raft calls of hclog.Logger.
func (l *hcLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *hcLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *hcLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *hcLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *hcLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }
func (l *hcLogger) IsTrace() bool                 { return false }
func (l *hcLogger) IsDebug() bool                 { return l.to.Enabled(context.Background(), slog.LevelDebug) }
func (l *hcLogger) IsInfo() bool                  { return l.to.Enabled(context.Background(), slog.LevelInfo) }
func (l *hcLogger) IsWarn() bool                  { return l.to.Enabled(context.Background(), slog.LevelWarn) }
func (l *hcLogger) IsError() bool                 { return l.IsWarn() }
func (l *hcLogger) ImpliedArgs() []any            { return l.implied }
func (l *hcLogger) Name() string                  { return l.name }
func (l *hcLogger) SetLevel(hclog.Level)          {}
func (l *hcLogger) GetLevel() hclog.Level         { return hclog.Debug }
func (l *hcLogger) With(args ...any) hclog.Logger {
	c := *l
	c.implied = append(l.implied[:len(l.implied):len(l.implied)], args...)
	return &c
}
func (l *hcLogger) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }
func (l *hcLogger) ResetNamed(name string) hclog.Logger {
	c := *l
	c.name = name
	return &c
}
