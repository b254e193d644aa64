package turn

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// pionLog gives the library's lines to ours, at debug: what an operator must hear, the counters and our own lines say.
type pionLog struct{ log *slog.Logger }

func (l pionLog) NewLogger(string) logging.LeveledLogger { return l }

func (l pionLog) Trace(string)          {}
func (l pionLog) Tracef(string, ...any) {}
func (l pionLog) Debug(msg string)      { l.log.Debug("turn", "text", msg) }
func (l pionLog) Debugf(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) { // some of these are a packet each
		l.Debug(fmt.Sprintf(format, args...))
	}
}
func (l pionLog) Info(msg string)                   { l.Debug(msg) }
func (l pionLog) Infof(format string, args ...any)  { l.Debugf(format, args...) }
func (l pionLog) Warn(msg string)                   { l.Debug(msg) }
func (l pionLog) Warnf(format string, args ...any)  { l.Debugf(format, args...) }
func (l pionLog) Error(msg string)                  { l.Debug(msg) }
func (l pionLog) Errorf(format string, args ...any) { l.Debugf(format, args...) }
