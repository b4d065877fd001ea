// Package notify tells people outside of Holdfast about alerts. A notifier is given an alert after the store has it, so one that
// fails or repeats itself loses nothing. So far there is one: the program's log.
package notify

import (
	"context"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Log writes an alert into the program's log, one line an alert, in the administrator's words.
type Log struct{ logger *zap.Logger }

// NewLog returns a notifier that writes to logger.
func NewLog(logger *zap.Logger) *Log {
	return &Log{logger: logger.Named("alert")}
}

// Notify writes a warning for an alert that stands and an information for one that was resolved. It never fails: a log that cannot
// be written is not an alert's concern.
func (l *Log) Notify(_ context.Context, a backup.Alert) error {
	fields := []zap.Field{zap.String("tenant", a.Tenant), zap.String("kind", string(a.Kind)), zap.String("subject", a.Subject)}
	if !a.Resolved.IsZero() {
		l.logger.Info("Resolved: "+a.Kind.Title(), fields...)
		return nil
	}
	if a.Times > 1 {
		fields = append(fields, zap.Int("times", a.Times), zap.Time("since", a.Raised))
	}
	if a.Hint != "" {
		fields = append(fields, zap.String("hint", a.Hint))
	}
	l.logger.Warn(a.Kind.Title()+": "+a.Message, fields...)
	return nil
}
