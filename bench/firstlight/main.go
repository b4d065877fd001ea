// Command firstlight measures a first backup and a run without changes, from the sandbox's Microsoft 365 through everything that is
// shipped, against kopia's own command line on the same bytes on disk. bench/README.md says what is compared with what.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// plan is what is measured.
type plan struct {
	// Bin holds holdfast and holdfastd, Kopia is kopia's program, Tenant the tenant's file and Work a folder for everything that is made.
	Bin, Kopia, Tenant, Work string
	// People have a mailbox and a drive each, with so many Messages and Files.
	People, Messages, Files int
	Repeat                  int
	Seed                    uint64
	// Latency is how long the sandbox waits before each answer, as a service at a distance does.
	Latency time.Duration
}

func main() {
	var p plan
	flag.StringVar(&p.Bin, "bin", "build/bin", "folder of the built holdfast and holdfastd")
	flag.StringVar(&p.Kopia, "kopia", "", "kopia's program")
	flag.StringVar(&p.Tenant, "tenant", "demo/acme.yaml", "the tenant's file")
	flag.StringVar(&p.Work, "work", "build/bench", "folder for everything that is made; removed afterwards")
	flag.IntVar(&p.People, "people", 10, "people with a mailbox and a drive")
	flag.IntVar(&p.Messages, "messages", 200, "messages in a mailbox")
	flag.IntVar(&p.Files, "files", 20, "files in a drive")
	flag.IntVar(&p.Repeat, "repeat", 5, "repetitions")
	flag.DurationVar(&p.Latency, "latency", 0, "how long the sandbox waits before each answer")
	flag.Uint64Var(&p.Seed, "seed", 1, "seed of the company")
	asJSON := flag.Bool("json", false, "print JSON instead of a table")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := measure(ctx, p)
	if err == nil {
		err = report.print(*asJSON)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "firstlight:", err)
		os.Exit(1)
	}
}

func (r *Report) print(asJSON bool) error {
	if !asJSON {
		return r.table(os.Stdout)
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// measure makes every repetition. The programs take turns in going first, so that a change of the machine's load falls on both.
func measure(ctx context.Context, p plan) (*Report, error) {
	work, err := filepath.Abs(p.Work)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(work, 0o700); err != nil {
		return nil, err
	}
	if p.Work, err = os.MkdirTemp(work, "firstlight-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(p.Work)
	data, err := writeData(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("write the data for kopia: %w", err)
	}
	report := newReport(p, data)
	for n := range p.Repeat {
		fmt.Fprintf(os.Stderr, "Repetition %d of %d, load %s\n", n+1, p.Repeat, load())
		r, err := repetition(ctx, p, data, n)
		if err != nil {
			return nil, fmt.Errorf("repetition %d: %w", n+1, err)
		}
		report.Repetitions = append(report.Repetitions, r)
	}
	report.conclude()
	return report, nil
}

func repetition(ctx context.Context, p plan, data dataset, n int) (r Repetition, err error) {
	r.Load = load()
	sides := []func(context.Context, plan, dataset, *Repetition) error{measureHoldfast, measureKopia}
	if n%2 == 1 {
		sides[0], sides[1] = sides[1], sides[0]
	}
	for _, side := range sides {
		if err := side(ctx, p, data, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}
