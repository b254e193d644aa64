package cluster

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// raftLog lets Raft speak through slog. Raft's "info" is for its developers, so it becomes debug here; its warnings
// mean something only where there are other nodes, and only to who looks closely: what an operator should do something about, the cluster says itself.
type raftLog struct {
	log  *slog.Logger
	warn slog.Level
	name string
	args []any
}

func newRaftLog(log *slog.Logger, alone bool) hclog.Logger {
	l := &raftLog{log: log, warn: slog.LevelInfo, name: "raft"}
	if alone {
		l.warn = slog.LevelDebug
	}
	return l
}

func (l *raftLog) level(level hclog.Level) slog.Level {
	switch level {
	case hclog.Error:
		return slog.LevelError
	case hclog.Warn:
		return l.warn
	default:
		return slog.LevelDebug
	}
}

// chatter are errors of which Raft writes several a second for as long as another node is away; that it is, the cluster says once.
var chatter = []string{"failed to heartbeat to", "failed to appendEntries to", "failed to make requestVote RPC", "failed to make requestPreVote RPC", "failed to pipeline appendEntries to", "failed to accept connection", "failed to decode incoming command", "failed to send snapshot to"}

func (l *raftLog) Log(level hclog.Level, msg string, args ...any) {
	to := l.level(level)
	if slices.Contains(chatter, msg) {
		to = slog.LevelDebug
	}
	if !l.log.Enabled(context.Background(), to) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 { // hclog's deferred Sprintf
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	l.log.With(l.args...).Log(context.Background(), to, l.name+": "+msg, args...)
}

func (l *raftLog) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *raftLog) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLog) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLog) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLog) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLog) IsTrace() bool { return false }
func (l *raftLog) IsDebug() bool { return l.log.Enabled(context.Background(), slog.LevelDebug) }
func (l *raftLog) IsInfo() bool  { return l.IsDebug() }
func (l *raftLog) IsWarn() bool  { return l.log.Enabled(context.Background(), l.warn) }
func (l *raftLog) IsError() bool { return true }

func (l *raftLog) ImpliedArgs() []any { return l.args }
func (l *raftLog) Name() string       { return l.name }

func (l *raftLog) With(args ...any) hclog.Logger {
	with := *l
	with.args = append(append([]any(nil), l.args...), args...)
	return &with
}

func (l *raftLog) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }

func (l *raftLog) ResetNamed(name string) hclog.Logger {
	named := *l
	named.name = name
	return &named
}

func (l *raftLog) SetLevel(hclog.Level)  {}
func (l *raftLog) GetLevel() hclog.Level { return hclog.Info }

func (l *raftLog) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(l.log.Handler(), slog.LevelDebug)
}

func (l *raftLog) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	return l.StandardLogger(o).Writer()
}
