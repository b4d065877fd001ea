package notify

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

var _ activities.Notifier = (*Log)(nil)

func TestLogSaysAnAlertOnceInTheAdministratorsWords(t *testing.T) {
	since := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	alert := backup.Alert{Tenant: "acme", Kind: backup.AlertNotConnected, Subject: "key", Message: "no connector of acme is connected", Hint: "start one", Times: 1, Raised: since}
	again, resolved, bare := alert, alert, alert
	again.Times = 3
	resolved.Resolved = since.Add(time.Hour)
	bare.Hint = ""
	for _, test := range []struct {
		name   string
		alert  backup.Alert
		level  zapcore.Level
		says   string
		fields map[string]any
	}{
		{"first", alert, zap.WarnLevel, "Not Connected: no connector of acme is connected", map[string]any{"hint": "start one"}},
		{"again", again, zap.WarnLevel, "Not Connected: no connector of acme is connected", map[string]any{"hint": "start one", "times": int64(3), "since": since}},
		{"resolved", resolved, zap.InfoLevel, "Resolved: Not Connected", nil},
		{"without a hint", bare, zap.WarnLevel, "Not Connected: no connector of acme is connected", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			core, lines := observer.New(zap.DebugLevel)
			if err := NewLog(zap.New(core)).Notify(t.Context(), test.alert); err != nil {
				t.Fatal(err)
			}
			if lines.Len() != 1 {
				t.Fatalf("%d lines were written, want one", lines.Len())
			}
			line := lines.All()[0]
			if line.Level != test.level || line.Message != test.says || line.LoggerName != "alert" {
				t.Errorf("the line is %s %q by %q, want %s %q", line.Level, line.Message, line.LoggerName, test.level, test.says)
			}
			fields := line.ContextMap()
			if len(fields) != 3+len(test.fields) || fields["tenant"] != "acme" || fields["kind"] != "not_connected" || fields["subject"] != "key" {
				t.Errorf("fields are %v", fields)
			}
			for k, want := range test.fields {
				if fields[k] != want {
					t.Errorf("%s is %v, want %v", k, fields[k], want)
				}
			}
		})
	}
}
