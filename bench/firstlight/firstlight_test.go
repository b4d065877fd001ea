package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestReadActions(t *testing.T) {
	const text = `# HELP action action counter
# TYPE action counter
action{action_type="grpc_StartWorkflowExecution",namespace="default",operation="StartWorkflowExecution"} 3
action{action_type="command_ScheduleActivityTask",namespace="default"} 1e+01
action{namespace="default",action_type="command_ScheduleActivityTask",shadow_action_type="x"} 2
action{action_type="grpc_SignalWorkflowExecution",namespace="temporal-system"} 100
action_latency{action_type="other",namespace="default"} 7
`
	actions, err := parseActions(strings.NewReader(text))
	if err != nil || len(actions) != 2 || actions["grpc_StartWorkflowExecution"] != 3 || actions["command_ScheduleActivityTask"] != 12 {
		t.Errorf("got %v, %v", actions, err)
	}
	sum, kinds := since(map[string]int64{"grpc_StartWorkflowExecution": 3, "command_ScheduleActivityTask": 5}, actions)
	if sum != 7 || len(kinds) != 1 {
		t.Errorf("since: %d, %v", sum, kinds)
	}
	if _, err := parseActions(strings.NewReader(`action{namespace="default"} many`)); err == nil {
		t.Error("a counter that is no number was read")
	}
}

func TestParseStat(t *testing.T) {
	stat := []byte("42 (a) (strange name) S 7 42 42 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 8 0 100")
	parent, cpu, err := parseStat(stat)
	if err != nil || parent != 7 || cpu != 1750*time.Millisecond {
		t.Errorf("got parent %d, %v, %v", parent, cpu, err)
	}
	if _, _, err := parseStat([]byte("42 (cut) S 7 4")); err == nil {
		t.Error("a line that is cut was read")
	}
}

// What is read of a process that uses a known amount is about that.
func TestUsageOfAProcess(t *testing.T) {
	own, err := usageOf(os.Getpid())
	if err != nil || own.peak < 1<<20 {
		t.Errorf("this test holds %d bytes, %v", own.peak, err)
	}
	hold := bytes.Repeat([]byte{1}, 64<<20)
	more, err := usageOf(os.Getpid())
	if err != nil || more.peak < own.peak+60<<20 || hold[1] != 1 {
		t.Errorf("64 MiB more took the peak from %d to %d, %v", own.peak, more.peak, err)
	}
	// A child's peak is its own, although this process holds more.
	child := exec.CommandContext(t.Context(), "sleep", "0.3")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	peak := watchPeak(child.Process.Pid)
	_ = child.Wait()
	if p := peak(); p == 0 || p > 32<<20 {
		t.Errorf("sleep held %d bytes", p)
	}
}

func TestMediansAndRatios(t *testing.T) {
	r := &Report{}
	for _, s := range []float64{9, 1, 2} {
		n := Repetition{HoldfastFirst: Figures{Seconds: 3 * s, APICalls: int64(s), CPUSeconds: 4}, KopiaFirst: Figures{Seconds: s, CPUSeconds: 2},
			Download: Figures{Seconds: 2 * s}, HoldfastUnchanged: Figures{Seconds: s}, KopiaUnchanged: Figures{Seconds: s}}
		r.Repetitions = append(r.Repetitions, n)
	}
	r.conclude()
	if m := r.Medians.HoldfastFirst; m.Seconds != 6 || m.APICalls != 2 {
		t.Errorf("medians %+v", m)
	}
	if want := (Ratios{FirstToKopia: 3, FirstToLimit: 1.5, FirstToSum: 1, FirstCPUToKopia: 2, UnchangedToKopia: 1}); r.Ratios != want {
		t.Errorf("ratios %+v, want %+v", r.Ratios, want)
	}
	var out strings.Builder
	if err := r.table(&out); err != nil || strings.Contains(out.String(), "NaN") || !strings.Contains(out.String(), "6.00") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// The data for kopia are the messages and files that the sandbox hands out, and as many as were asked for.
func TestDataOnDisk(t *testing.T) {
	p := plan{Work: t.TempDir(), People: 23, Messages: 3, Files: 4, Seed: 1}
	d, err := writeData(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	size, err := sizeOf(d.folder)
	if err != nil || size != d.Bytes || d.Messages != 69 || d.Files != 92 || size == 0 {
		t.Errorf("%d messages and %d files of %d bytes; %d on disk, %v", d.Messages, d.Files, d.Bytes, size, err)
	}
}
