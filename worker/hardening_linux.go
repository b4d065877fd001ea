package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// keepMemoryPrivate keeps this process's memory, and with it keys, out of core dumps and from debuggers of the same user (core(5),
// PR_SET_DUMPABLE in prctl(2)). The programs that it starts write no core dumps either.
func keepMemoryPrivate() error {
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

// lockMemory keeps this process's memory from being written to swap, where the system lets it, and says which (mlockall(2)). Pages are
// locked as they are touched; the limit counts all that is reserved, so that nothing but an unlimited one is of use.
func lockMemory() string {
	limit := unix.Rlimit{}
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Sprintf("not locked: %v", err)
	}
	if limit.Max != unix.RLIM_INFINITY {
		return fmt.Sprintf("not locked: the limit is %d KiB; LimitMEMLOCK=infinity or ulimit -l unlimited lifts it", limit.Max>>10)
	}
	limit.Cur = limit.Max
	if err := errors.Join(unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit), unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT)); err != nil {
		return fmt.Sprintf("not locked: %v", err)
	}
	return "locked"
}
