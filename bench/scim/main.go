// Command scim measures how fast an identity provider creates people by SCIM and finds them again: eight clients over HTTPS, against our
// handler with a store on disk in a process of its own, and against SCIMMY in memory in another. Then a large group is pushed to ours while
// people are looked up.
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

const clients = 8

// report is what is printed.
type report struct {
	Load    string   `json:"load"`
	Users   int      `json:"users"`
	Members int      `json:"members"`
	Results []result `json:"results"`
}

func main() {
	users := flag.Int("users", 100_000, "how many users are created")
	members := flag.Int("members", 50_000, "how many members the large group gets")
	peer := flag.String("peer", "", "the peer's server.mjs; empty: ours alone")
	asJSON := flag.Bool("json", false, "print JSON")
	serve := flag.String("serve", "", "be our server, with the store and the certificate in this folder")
	flag.Parse()
	run := func() error { return measure(*users, *members, *peer, *asJSON) }
	if *serve != "" {
		run = func() error { return serveOurs(*serve) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "scim:", err)
		os.Exit(1)
	}
}

func measure(users, members int, peer string, asJSON bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	r := report{Load: load(), Users: users, Members: members}
	sides, done, err := startSides(ctx, peer)
	if err != nil {
		return err
	}
	defer done()
	for _, s := range sides {
		taken, err := s.create(ctx, users)
		if err != nil {
			return err
		}
		r.Results = append(r.Results, taken.result(s.name, "create users"))
	}
	for _, s := range sides {
		taken, err := s.find(ctx, users)
		if err != nil {
			return err
		}
		r.Results = append(r.Results, taken.result(s.name, "find by userName"))
	}
	push, reads, err := sides[0].largeGroup(ctx, users, members)
	if err != nil {
		return err
	}
	r.Results = append(r.Results, push.result(sides[0].name, "PATCH of 1,000 members"), reads.result(sides[0].name, "25 reads a second meanwhile"))
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	r.print()
	return nil
}

func (r report) print() {
	fmt.Printf("load: %s before, %s after; %d users, %d members\n\n%-30s %-28s %9s %8s %8s %8s\n", r.Load, load(), r.Users, r.Members, "", "", "a second", "p50 ms", "p95 ms", "p99 ms")
	first := map[string]result{}
	for _, c := range r.Results {
		fmt.Printf("%-30s %-28s %9.0f %8.2f %8.2f %8.2f", c.Case, c.Side, c.PerSecond, c.P50, c.P95, c.P99)
		if ours, ok := first[c.Case]; ok {
			fmt.Printf("   ours / its: %.2f", ours.PerSecond/c.PerSecond)
		} else {
			first[c.Case] = c
		}
		fmt.Println()
	}
}

func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(b))[:1], "")
}
