package main

import (
	"log/slog"
	"os"

	"go.temporal.io/sdk/log"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"
)

// newLogger writes to standard error: lines for a person on a terminal, JSON for a machine otherwise.
func (s settings) newLogger() (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(s.LogLevel)
	if err != nil {
		return nil, &usageError{err}
	}
	format := s.LogFormat
	if format == "" {
		format = "json"
		if term.IsTerminal(int(os.Stderr.Fd())) {
			format = "console"
		}
	}
	conf := zap.NewProductionConfig()
	conf.Level = zap.NewAtomicLevelAt(level)
	conf.Encoding, conf.Sampling, conf.DisableCaller = format, nil, true
	conf.DisableStacktrace = true // an error says what to do; a panic brings its own stack
	conf.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	return conf.Build()
}

// sdkLogger bridges zap into the Temporal SDK.
func sdkLogger(l *zap.Logger) log.Logger {
	return log.NewStructuredLogger(slogger(l.Named("temporal")))
}

// slogger bridges zap into what logs by the standard library.
func slogger(l *zap.Logger) *slog.Logger {
	return slog.New(zapslog.NewHandler(l.Core(), zapslog.WithName(l.Name())))
}
