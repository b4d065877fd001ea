//go:build unix

package main

import (
	"os"
	"syscall"
)

// makeFilesPrivate keeps what is made from now on, by this process and by those it starts, from being read by others: Temporal's
// database holds descriptions and reports, and the state folder may be one that was there already.
func makeFilesPrivate() { syscall.Umask(0o077) }

// tryLock takes the file's lock without waiting. The kernel gives it back when the process ends.
func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
