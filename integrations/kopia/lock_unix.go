//go:build unix

package kopia

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// lockFolder takes the folder's own advisory lock; it goes away with the process.
func lockFolder(ctx context.Context, folder string) (unlock func(), err error) {
	return lock(ctx, folder, syscall.LOCK_EX)
}

// shareFolder takes the same lock together with all others who share it.
func shareFolder(ctx context.Context, folder string) (unlock func(), err error) {
	return lock(ctx, folder, syscall.LOCK_SH)
}

func lock(ctx context.Context, folder string, how int) (unlock func(), err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
