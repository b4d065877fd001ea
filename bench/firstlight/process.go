package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of the kernel's CPU times (USER_HZ), the same on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// usage is what a process has used since it began.
type usage struct {
	cpu  time.Duration // user and system
	peak int64         // most bytes of memory held at once
}

// usageOf reads the usage of a running process. The peak is VmHWM, which belongs to the program: the maximum of getrusage(2) is
// inherited from whoever started it.
func usageOf(pid int) (u usage, err error) {
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(folder, "stat"))
	if err != nil {
		return u, err
	}
	if _, u.cpu, err = parseStat(stat); err != nil {
		return u, err
	}
	status, err := os.ReadFile(filepath.Join(folder, "status"))
	if err != nil {
		return u, err
	}
	u.peak, err = parsePeak(status)
	return u, err
}

// parseStat reads parent and CPU time (proc(5), fields 4, 14 and 15). The program's name, field 2, may hold anything but ends at the last ')'.
func parseStat(stat []byte) (parent int, cpu time.Duration, err error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, 0, fmt.Errorf("/proc/PID/stat has %d fields behind the name", len(fields))
	}
	parent, err = strconv.Atoi(fields[1])
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return parent, time.Duration(user+system) * tick, errors.Join(err, err1, err2)
}

// parsePeak reads VmHWM. A process that has just ended has none, nor any memory.
func parsePeak(status []byte) (int64, error) {
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, nil
}

// ownCPU is what this process, and that is the sandbox company, has used.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// childrenCPU is what the processes that this one started, and that still run, have used.
func childrenCPU() (time.Duration, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended meanwhile
		}
		parent, cpu, err := parseStat(stat)
		if err != nil {
			return 0, err
		}
		if parent == os.Getpid() {
			sum += cpu
		}
	}
	return sum, nil
}

// watchPeak follows a process's peak until it ends; the function returned waits for that and gives it in bytes.
func watchPeak(pid int) func() int64 {
	peak := make(chan int64, 1)
	go func() {
		var most int64
		for {
			u, err := usageOf(pid)
			if err != nil || u.peak == 0 {
				peak <- most
				return
			}
			most = max(most, u.peak)
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return func() int64 { return <-peak }
}

// load is the machine's load average over the last minute.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
