package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// readActions asks a Temporal server for its counter of billable actions (metric `action`), by kind. The server's own namespace is left out.
func readActions(ctx context.Context, metrics string) (map[string]int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, metrics, nil)
	if err != nil {
		return nil, err
	}
	resp, err := new(http.Client).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the Temporal server's metrics: %s", resp.Status)
	}
	return parseActions(resp.Body)
}

// parseActions reads Prometheus' text format as far as it is needed: `action{a="b",...} 12`.
func parseActions(from io.Reader) (map[string]int64, error) {
	actions := map[string]int64{}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "action{")
		labels, value, found := strings.Cut(text, "} ")
		if !ok || !found || label(labels, "namespace") == "temporal-system" {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("the counter of actions: %w", err)
		}
		actions[label(labels, "action_type")] += int64(n)
	}
	return actions, lines.Err()
}

// label finds a label's value. None of those looked for holds a quote or a backslash.
func label(labels, name string) string {
	_, rest, found := strings.Cut(","+labels, ","+name+`="`)
	if !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// since takes an earlier reading off.
func since(before, after map[string]int64) (sum int64, byKind map[string]int64) {
	byKind = map[string]int64{}
	for kind, n := range after {
		if n -= before[kind]; n > 0 {
			byKind[kind] = n
			sum += n
		}
	}
	return sum, byKind
}
