package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

var oktaOfAcme = backup.SCIMScope{Tenant: "acme", Directory: "okta"}

func TestTenThousandPushesAreAHandfulOfSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var signals, other atomic.Int64
		p := newPushSignals(func(_ context.Context, s backup.SCIMScope) error {
			if s == oktaOfAcme {
				signals.Add(1)
			} else {
				other.Add(1)
			}
			return nil
		}, zap.NewNop(), pushQuiet, pushLatest)
		for range 10_000 { // a hundred seconds without a pause
			p.pushed(oktaOfAcme)
			time.Sleep(10 * time.Millisecond)
		}
		p.pushed(backup.SCIMScope{Tenant: "other", Directory: "okta"})
		time.Sleep(time.Minute)
		if n := signals.Load(); n < 3 || n > 5 || other.Load() != 1 {
			t.Errorf("%d signals, and %d for another tenant", n, other.Load())
		}
		p.drain()
		p.pushed(oktaOfAcme)
		if len(p.owed) != 0 {
			t.Error("a push after the end is still owed")
		}
	})
}

func TestSignalIsRepeatedUntilTemporalIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		p := newPushSignals(func(context.Context, backup.SCIMScope) error {
			if tries.Add(1) < 8 {
				return errors.New("away")
			}
			return nil
		}, zap.NewNop(), pushQuiet, pushLatest)
		p.pushed(oktaOfAcme)
		time.Sleep(10 * time.Minute)
		if n := tries.Load(); n != 8 {
			t.Errorf("it was tried %d times, want 8", n)
		}
		p.drain()
	})
}

func TestWhatIsOwedIsSignalledAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		for _, err := range []error{nil, errors.New("away")} {
			p := newPushSignals(func(context.Context, backup.SCIMScope) error { tries.Add(1); return err }, zap.NewNop(), time.Hour, time.Hour)
			p.pushed(oktaOfAcme)
			p.drain()
		}
		if n := tries.Load(); n != 2 {
			t.Errorf("%d signals, want one of each gateway", n)
		}
	})
}
