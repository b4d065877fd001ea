package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// patchSize is how many members one PATCH adds; identity providers send some hundreds.
	patchSize = 1000
	// readEvery is the distance of the reads beside the large group: 25 a second.
	readEvery = 40 * time.Millisecond
	// mostReads bounds the search by userName.
	mostReads = 20_000
)

// taken are the times of requests.
type taken struct {
	mu   sync.Mutex
	each []time.Duration
	wall time.Duration
	err  error
}

func (m *taken) add(d time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.each = append(m.each, d)
	if m.err == nil {
		m.err = err
	}
}

func (m *taken) failed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err != nil
}

type result struct {
	Side      string  `json:"side"`
	Case      string  `json:"case"`
	PerSecond float64 `json:"perSecond"`
	P50       float64 `json:"p50ms"`
	P95       float64 `json:"p95ms"`
	P99       float64 `json:"p99ms"`
}

func (m *taken) result(side, name string) result {
	slices.Sort(m.each)
	at := func(q float64) float64 { return float64(m.each[int(q*float64(len(m.each)-1))].Microseconds()) / 1000 }
	return result{side, name, float64(len(m.each)) / m.wall.Seconds(), at(0.5), at(0.95), at(0.99)}
}

// shared has all clients do the numbers from 0 to n-1.
func shared(ctx context.Context, n int, do func(ctx context.Context, i int) error) (*taken, error) {
	m := &taken{}
	began := time.Now()
	var group sync.WaitGroup
	for c := range clients {
		group.Go(func() {
			for i := c; i < n && !m.failed(); i += clients {
				at := time.Now()
				err := do(ctx, i)
				m.add(time.Since(at), err)
			}
		})
	}
	group.Wait()
	m.wall = time.Since(began)
	return m, m.err
}

func (s *side) create(ctx context.Context, n int) (*taken, error) {
	return shared(ctx, n, func(ctx context.Context, i int) error {
		_, err := s.send(ctx, http.MethodPost, "/Users", user(i), http.StatusCreated)
		return err
	})
}

func userName(i int) string { return fmt.Sprintf("person.%06d@acme.example", i) }

func user(i int) string {
	return fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"externalId":"x%d","userName":%q,"displayName":"Person %d","active":true,
		"name":{"givenName":"Person","familyName":"%d"},"emails":[{"type":"work","primary":true,"value":%q}]}`, i, userName(i), i, i, userName(i))
}

// find looks up random users as an identity provider does before it creates one. Each must be found.
func (s *side) find(ctx context.Context, users int) (*taken, error) {
	return shared(ctx, min(users, mostReads), func(ctx context.Context, _ int) error { return s.findOne(ctx, rand.IntN(users)) })
}

func (s *side) findOne(ctx context.Context, i int) error {
	body, err := s.send(ctx, http.MethodGet, "/Users?filter="+url.QueryEscape(fmt.Sprintf("userName eq %q", userName(i))), "", http.StatusOK)
	if err == nil && !strings.Contains(string(body), userName(i)) {
		err = fmt.Errorf("%s: %s was not found: %.300s", s.name, userName(i), body)
	}
	return err
}

// largeGroup adds members by PATCHes, one after the other, while users are looked up at a steady rate: a read that is late does not delay
// the next.
func (s *side) largeGroup(ctx context.Context, users, members int) (push, reads *taken, err error) {
	body, err := s.send(ctx, http.MethodPost, "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Everybody"}`, http.StatusCreated)
	var group struct{ ID string }
	if err == nil {
		err = json.Unmarshal(body, &group)
	}
	if err != nil {
		return nil, nil, err
	}
	push, reads = &taken{}, &taken{}
	pushed, done := context.WithCancel(ctx)
	var reading sync.WaitGroup
	reading.Go(func() { s.readSteadily(pushed, ctx, users, reads) })
	began := time.Now()
	for at := 0; at < members && push.err == nil; at += patchSize {
		before := time.Now()
		_, err := s.send(ctx, http.MethodPatch, "/Groups/"+group.ID, membersPatch(at, min(at+patchSize, members)), http.StatusNoContent)
		push.add(time.Since(before), err)
	}
	push.wall = time.Since(began)
	done()
	reading.Wait()
	reads.wall = push.wall
	if push.err == nil && len(reads.each) == 0 {
		push.err = fmt.Errorf("the group was there before the first read: give more members")
	}
	return push, reads, firstOf(push.err, reads.err)
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (s *side) readSteadily(until, ctx context.Context, users int, reads *taken) {
	var under sync.WaitGroup
	defer under.Wait()
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for {
		select {
		case <-until.Done():
			return
		case <-tick.C:
		}
		under.Go(func() {
			at := time.Now()
			err := s.findOne(ctx, rand.IntN(users))
			reads.add(time.Since(at), err)
		})
	}
}

func membersPatch(from, to int) string {
	list := make([]string, 0, to-from)
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprintf(`{"value":"0b6e3f0a-1f0f-4a52-8a3e-%012d"}`, i))
	}
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"Add","path":"members","value":[` + strings.Join(list, ",") + `]}]}`
}

func (s *side) send(ctx context.Context, method, path, body string, want int) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Content-Type", "application/scim+json")
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != want {
		err = fmt.Errorf("%s: %s %s: %d %.300s", s.name, method, path, answer.StatusCode, text)
	}
	return text, err
}
