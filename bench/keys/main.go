// Command keys measures how fast a tenant's ekey is had: releases a second and the time of one, by a connector behind its gateway and
// by a real Vault (OpenBao), each with everything that belongs to it (request or login, check, signed receipt on disk). In the same run
// it measures what is below: Vault's decryption alone, and the repository's opening, which a shard does anyway.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// cases are measured in turns, so that what else the machine does falls on all of them.
const rounds = 3

type result struct {
	Case    string  `json:"case"`
	Clients int     `json:"clients"`
	PerSec  float64 `json:"perSecond"`
	P50     float64 `json:"p50ms"`
	P95     float64 `json:"p95ms"`
	Errors  int     `json:"errors"`
}

type report struct {
	Load    string   `json:"load"`
	Results []result `json:"results"`
	// OpenMS is the opening of a repository, which follows each release of a shard; milliseconds, median.
	OpenMS float64 `json:"openRepositoryMS"`
}

func main() {
	asJSON := flag.Bool("json", false, "print JSON")
	seconds := flag.Float64("seconds", 2, "how long each case is measured in each of three rounds")
	flag.Parse()
	if err := run(*asJSON, time.Duration(*seconds*float64(time.Second))); err != nil {
		fmt.Fprintln(os.Stderr, "keys:", err)
		os.Exit(1)
	}
}

func run(asJSON bool, each time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	p, err := newPlace(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	found := map[string]map[int]*measured{}
	for range rounds {
		for _, name := range caseNames {
			for _, clients := range []int{1, 8} {
				if found[name] == nil {
					found[name] = map[int]*measured{}
				}
				if found[name][clients] == nil {
					found[name][clients] = &measured{}
				}
				found[name][clients].add(ctx, clients, each, p.cases[name])
			}
		}
	}
	r := report{Load: load()}
	for _, name := range caseNames {
		for _, clients := range []int{1, 8} {
			r.Results = append(r.Results, found[name][clients].result(name, clients))
		}
	}
	if r.OpenMS, err = p.opening(ctx); err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	r.print()
	return r.failed()
}

// measured is one case with one number of clients.
type measured struct {
	took   []time.Duration
	wall   time.Duration
	errors int
}

func (m *measured) add(ctx context.Context, clients int, each time.Duration, do func(context.Context) error) {
	var group sync.WaitGroup
	var mu sync.Mutex
	began := time.Now()
	for range clients {
		group.Go(func() {
			for time.Since(began) < each && ctx.Err() == nil {
				at := time.Now()
				err := do(ctx)
				mu.Lock()
				m.took = append(m.took, time.Since(at))
				if err != nil {
					m.errors++
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	m.wall += time.Since(began)
}

func (m *measured) result(name string, clients int) result {
	slices.Sort(m.took)
	at := func(q float64) float64 { return ms(m.took[int(q*float64(len(m.took)-1))]) }
	return result{name, clients, float64(len(m.took)) / m.wall.Seconds(), at(0.5), at(0.95), m.errors}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (r report) print() {
	fmt.Printf("load: %s\n\n%-34s %7s %10s %9s %9s\n", r.Load, "", "clients", "a second", "p50 ms", "p95 ms")
	for _, c := range r.Results {
		fmt.Printf("%-34s %7d %10.0f %9.2f %9.2f\n", c.Case, c.Clients, c.PerSec, c.P50, c.P95)
	}
	fmt.Printf("\nopening a repository: %.1f ms. What a shard waits for its key, as a part of that:", r.OpenMS)
	for _, c := range r.Results {
		if c.Clients == 1 && c.Case != rawVault {
			fmt.Printf("  %s %.2f", c.Case, c.P50/r.OpenMS)
		}
	}
	fmt.Println()
}

func (r report) failed() error {
	for _, c := range r.Results {
		if c.Errors > 0 {
			return errors.New("some releases failed: the figures mean nothing")
		}
	}
	return nil
}

func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return strings.TrimSpace(string(b))
}
