// Command entra measures an import of people from Entra ID: users/delta of a sandbox of 100,000, which runs in a process of its own, into a real
// SQLite store, by the steps of the import's activities. Clean and with every tenth answer a 429, the first time and again when nothing changed,
// against a plain client in the same run that follows the same pages and throws them away. And with a group of half of them, inside of another
// group that people are limited to: when nothing changed, and when some left the group and others joined it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// throttledEvery and retryAfter make a tenth of the answers a 429 that asks for a second.
const (
	throttledEvery = 10
	retryAfter     = 1 // seconds
)

type result struct {
	Case string `json:"case"`
	// Wall times in seconds; Plain is the plain client's for the same pages, unthrottled.
	Plain   float64 `json:"plainSeconds"`
	Wall    float64 `json:"seconds"`
	Read    float64 `json:"readAndStageSeconds"`
	Compare float64 `json:"compareSeconds"`
	Apply   float64 `json:"applySeconds"`
	// Asked is what the 429s asked to wait, in seconds.
	Asked float64 `json:"askedToWaitSeconds"`
	// CPU is this process's processor time in seconds, IdleMB its memory before, ReadMB at most up to the end of the read, and PeakMB at most.
	CPU    float64 `json:"cpuSeconds"`
	IdleMB float64 `json:"idleMB"`
	ReadMB float64 `json:"readPeakMB"`
	PeakMB float64 `json:"peakMB"`
	// Calls were answered, Throttled of them with 429; Least is how many cannot be done without: the pages and, with a group, those of its feed
	// and the batches for those who moved.
	Calls     int64 `json:"calls"`
	Throttled int64 `json:"throttled"`
	Least     int64 `json:"leastCalls"`
	Listed    int   `json:"listed"`
	Added     int   `json:"added"`
}

type report struct {
	Load    string   `json:"load"`
	After   string   `json:"loadAfter"`
	People  int      `json:"people"`
	Results []result `json:"results"`
}

func main() {
	asJSON := flag.Bool("json", false, "print JSON")
	people := flag.Int("people", 100_000, "how many people the directory has")
	serving := flag.Bool("serve", false, "be the sandbox: for the bench itself")
	every := flag.Int("throttle", 0, "as the sandbox, answer every so many requests with 429")
	grouped := flag.Int("grouped", 0, "as the sandbox, how many are in the group")
	flag.Parse()
	var err error
	if *serving {
		err = serve(*people, *every, *grouped)
	} else {
		err = run(*asJSON, *people)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "entra:", err)
		os.Exit(1)
	}
}

func run(asJSON bool, people int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	r := report{Load: load(), People: people}
	plain, err := plainSeconds(ctx, people)
	if err != nil {
		return err
	}
	for _, every := range []int{0, throttledEvery} {
		results, err := measure(ctx, people, every, plain)
		if err != nil {
			return err
		}
		r.Results = append(r.Results, results...)
	}
	results, err := measureGroup(ctx, people)
	if err != nil {
		return err
	}
	r.Results = append(r.Results, results...)
	r.After = load()
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	r.print()
	return nil
}

func (r report) print() {
	fmt.Printf("%d people; load before: %s, after: %s\n\n", r.People, r.Load, r.After)
	fmt.Printf("%-48s %8s %8s %8s %8s %8s %8s %7s %8s %8s %8s %7s %7s %7s\n", "", "wall s", "plain s", "read s", "compare", "apply", "asked s", "CPU s", "idle MB", "read MB", "peak MB", "calls", "429s", "least")
	for _, c := range r.Results {
		fmt.Printf("%-48s %8.2f %8.2f %8.2f %8.2f %8.2f %8.0f %7.2f %8.1f %8.1f %8.1f %7d %7d %7d\n", c.Case, c.Wall, c.Plain, c.Read, c.Compare, c.Apply, c.Asked, c.CPU, c.IdleMB, c.ReadMB, c.PeakMB,
			c.Calls, c.Throttled, c.Least)
	}
}

func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return strings.TrimSpace(string(b))
}
