package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
)

const (
	clientID     = "11111111-2222-4333-8444-555555555555"
	clientSecret = "a secret of the bench"
	pageSize     = 999
)

// served is what the sandbox's process says of itself.
type served struct {
	TenantID, LoginURL, GraphURL string
	CA                           []byte
	Users                        int
}

// counted is what it says when it is asked, since it was asked last.
type counted struct{ Calls int64 }

// serve is the sandbox's process: it says where it is, then answers each line of its input with its counters, and ends with its input.
func serve(people, every int) error {
	company := sandbox.People(1, 25, "acme.example")
	s, err := graph.Start(context.Background(), graph.Options{Seed: 1, People: company, Crowd: people - 24, ClientID: clientID, ClientSecret: clientSecret})
	if err != nil {
		return err
	}
	defer s.Close()
	if every > 0 {
		if err := s.Inject(graph.Fault{Kind: graph.FaultThrottle, On: graph.CallUserDelta, Every: every, RetryAfter: retryAfter}); err != nil {
			return err
		}
	}
	say := json.NewEncoder(os.Stdout)
	if err := say.Encode(served{s.TenantID(), s.LoginURL(), s.GraphURL(), s.CA().PEM(), s.Users()}); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		byCall, _ := s.Calls()
		s.ResetCalls()
		if err := say.Encode(counted{byCall[graph.CallUserDelta]}); err != nil {
			return err
		}
	}
	return nil
}

// peer is the sandbox's process seen from outside.
type peer struct {
	served
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func startPeer(ctx context.Context, people, every int) (*peer, error) {
	cmd := exec.CommandContext(ctx, os.Args[0], "-serve", "-people", fmt.Sprint(people), "-throttle", fmt.Sprint(every))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &peer{cmd: cmd, in: in, out: json.NewDecoder(out)}
	if err := p.out.Decode(&p.served); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *peer) close() {
	p.in.Close()
	p.cmd.Wait()
}

// calls is how many requests of users/delta came since it was asked last.
func (p *peer) calls() (int64, error) {
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		return 0, err
	}
	var c counted
	err := p.out.Decode(&c)
	return c.Calls, err
}

// plainSeconds is how long a plain client takes to follow all pages, which it throws away.
func plainSeconds(ctx context.Context, people int) (float64, error) {
	p, err := startPeer(ctx, people, 0)
	if err != nil {
		return 0, err
	}
	defer p.close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.CA)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	began := time.Now()
	var login struct {
		Token string `json:"access_token"`
	}
	form := url.Values{"client_id": {clientID}, "client_secret": {clientSecret}, "grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"}}
	ask, err := http.NewRequestWithContext(ctx, http.MethodPost, p.LoginURL+"/"+p.TenantID+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if err := fetch(client, ask, &login); err != nil {
		return 0, err
	}
	link := p.GraphURL + "/users/delta?$select=id,displayName,userPrincipalName,mail,proxyAddresses,accountEnabled,userType,department,employeeId"
	for link != "" {
		var page struct {
			Value json.RawMessage `json:"value"`
			Next  string          `json:"@odata.nextLink"`
		}
		ask, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
		if err != nil {
			return 0, err
		}
		ask.Header.Set("Authorization", "Bearer "+login.Token)
		ask.Header.Set("Prefer", fmt.Sprint("odata.maxpagesize=", pageSize))
		if err := fetch(client, ask, &page); err != nil {
			return 0, err
		}
		link = page.Next
	}
	return time.Since(began).Seconds(), nil
}

func fetch(client *http.Client, ask *http.Request, into any) error {
	answer, err := client.Do(ask)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New("the sandbox answers " + answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(into)
}
