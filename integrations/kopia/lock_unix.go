//go:build unix

package kopia

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kopia/kopia/repo/blob/sharded"
)

// lockFolder takes the folder's own advisory lock; it goes away with the process.
func lockFolder(ctx context.Context, folder string) (unlock func(), err error) {
	gate, err := lockGate(ctx, folder, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	held, err := lock(ctx, folder, syscall.LOCK_EX)
	if err != nil {
		gate()
		return nil, err
	}
	return func() { held(); gate() }, nil
}

// shareFolder takes the same lock together with all others who share it.
func shareFolder(ctx context.Context, folder string) (unlock func(), err error) {
	gate, err := lockGate(ctx, folder, syscall.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer gate()
	return lock(ctx, folder, syscall.LOCK_SH)
}

// lockGate takes the lock of a file that kopia writes once into every repository. Whoever wants the folder alone has it while he waits, so
// that nobody comes to share the folder meanwhile: those who share it one after the other would keep him waiting without end.
func lockGate(ctx context.Context, folder string, how int) (unlock func(), err error) {
	unlock, err = lock(ctx, filepath.Join(folder, sharded.ParametersFile), how)
	if errors.Is(err, os.ErrNotExist) {
		return func() {}, nil // there is no repository yet, and nobody who shares it
	}
	return unlock, err
}

func lock(ctx context.Context, path string, how int) (unlock func(), err error) {
	f, err := os.Open(path)
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
