// Package conformance asks a SCIM 2.0 service provider, over the wire, for what Okta and Entra need of it. It knows nothing of the provider but
// its URL and a token, so it also runs through a gateway. It creates users and groups of its own; the directory should be one for tests.
package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Peer is an identity provider's side.
type Peer struct {
	Client  *http.Client
	BaseURL string // ends in /scim/v2
	Token   string
	// Run makes the names of users and groups differ between two runs.
	Run string
}

// Step is one exchange: what is sent, and what the answer must be.
type Step struct {
	Name, Method, Path, Body string
	Header                   map[string]string
	Status                   int
	// Has and Lacks are texts that the answer's body (or its headers, as Name: value) has or has not.
	Has, Lacks []string
	// Keep remembers the answer's id under this name; {name} in paths, bodies and texts stands for it.
	Keep string
}

// Check runs all steps in order, and calls report for each; err is nil when it went as it must.
func Check(ctx context.Context, p Peer, report func(step string, err error)) {
	known := map[string]string{"run": p.Run}
	for _, s := range Steps() {
		report(s.Name, p.do(ctx, s, known))
	}
}

func (p Peer) do(ctx context.Context, s Step, known map[string]string) error {
	fill := func(text string) string {
		for name, value := range known {
			text = strings.ReplaceAll(text, "{"+name+"}", value)
		}
		return text
	}
	r, err := http.NewRequestWithContext(ctx, s.Method, p.BaseURL+fill(s.Path), strings.NewReader(fill(s.Body)))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+p.Token)
	if s.Body != "" {
		r.Header.Set("Content-Type", "application/scim+json; charset=utf-8")
	}
	for name, value := range s.Header {
		r.Header.Set(name, fill(value))
	}
	answer, err := p.Client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return err
	}
	var head bytes.Buffer
	_ = answer.Header.Write(&head) // a buffer takes everything
	if s.Keep != "" {
		var resource struct{ ID string }
		if json.Unmarshal(body, &resource) == nil {
			known[s.Keep] = resource.ID
		}
	}
	return s.judge(answer, head.String()+string(body), body, fill)
}

func (s Step) judge(answer *http.Response, all string, body []byte, fill func(string) string) error {
	if answer.StatusCode != s.Status {
		return fmt.Errorf("status %d, want %d: %.300s", answer.StatusCode, s.Status, body)
	}
	if len(body) > 0 && answer.Header.Get("Content-Type") != "application/scim+json" {
		return fmt.Errorf("content type %q", answer.Header.Get("Content-Type"))
	}
	if s.Status >= 400 && !strings.Contains(all, fmt.Sprintf(`"status":"%d"`, s.Status)) {
		return fmt.Errorf("no SCIM error: %.300s", body)
	}
	for _, text := range s.Has {
		if !strings.Contains(all, fill(text)) {
			return fmt.Errorf("the answer lacks %s: %.600s", fill(text), all)
		}
	}
	for _, text := range s.Lacks {
		if strings.Contains(all, fill(text)) {
			return fmt.Errorf("the answer has %s: %.600s", fill(text), all)
		}
	}
	return nil
}
