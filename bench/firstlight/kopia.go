package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// kopia is kopia's own program with a repository of its own.
type kopia struct{ program, folder string }

// measureKopia makes a new repository like ours, and measures a first snapshot of the data and another one without changes. It is
// kopia at its best: one snapshot of everything, no maintenance, no progress shown.
func measureKopia(ctx context.Context, p plan, data dataset, r *Repetition) error {
	folder, err := os.MkdirTemp(p.Work, "kopia-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	k := kopia{p.Kopia, folder}
	for _, args := range [][]string{
		{"repository", "create", "filesystem", "--path", k.repository(), "--cache-directory", filepath.Join(folder, "cache"),
			"--block-hash", "BLAKE3-256-128", "--encryption", "AES256-GCM-HMAC-SHA256", "--object-splitter", "DYNAMIC-4M-BUZHASH"},
		{"policy", "set", "--global", "--compression", "zstd-fastest"},
	} {
		if _, err := k.run(ctx, args...); err != nil {
			return err
		}
	}
	for _, into := range []*Figures{&r.KopiaFirst, &r.KopiaUnchanged} {
		if *into, err = k.run(ctx, "snapshot", "create", "--no-progress", data.folder); err != nil {
			return err
		}
		size, err := sizeOf(k.repository())
		if err != nil {
			return err
		}
		into.RepositoryMB = megabytes(size)
	}
	return nil
}

func (k kopia) repository() string { return filepath.Join(k.folder, "repository") }

// run measures a command from the start of the process to its end.
func (k kopia) run(ctx context.Context, args ...string) (f Figures, err error) {
	args = append(args, "--config-file", filepath.Join(k.folder, "config"), "--log-dir", filepath.Join(k.folder, "logs"), "--no-auto-maintenance")
	cmd := exec.CommandContext(ctx, k.program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "KOPIA_PASSWORD=of-a-benchmark", "KOPIA_CHECK_FOR_UPDATES=false")
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return f, err
	}
	peak := watchPeak(cmd.Process.Pid)
	err = cmd.Wait()
	f.Seconds = time.Since(began).Seconds()
	f.PeakMB = megabytes(peak())
	if err != nil {
		return f, fmt.Errorf("kopia %s: %w: %s", args[0], err, out.String())
	}
	f.CPUSeconds = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return f, nil
}
