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
	"strconv"
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
	Group                        string // holds the group of so many
}

// counted is what it says when it is asked, since it was asked last: requests of users/delta, all but those for a token, and those that came inside
// of others.
type counted struct{ Pages, All, Inner int64 }

// serve is the sandbox's process: it says where it is, then answers each line of its input with its counters, and ends with its input. A line
// that is a number lets so many leave the group, and so many others join it. grouped is how many are in it at the beginning.
func serve(people, every, grouped int) error {
	company := sandbox.People(1, 25, "acme.example")
	s, err := graph.Start(context.Background(), graph.Options{Seed: 1, People: company, Crowd: people - 24, ClientID: clientID, ClientSecret: clientSecret,
		Roles: []string{"User.Read.All", "GroupMember.Read.All"}})
	if err != nil {
		return err
	}
	defer s.Close()
	if every > 0 {
		if err := s.Inject(graph.Fault{Kind: graph.FaultThrottle, On: graph.CallUserDelta, Every: every, RetryAfter: retryAfter}); err != nil {
			return err
		}
	}
	g := &crowd{Server: s}
	if err := g.begin(grouped); err != nil {
		return err
	}
	say := json.NewEncoder(os.Stdout)
	if err := say.Encode(served{s.TenantID(), s.LoginURL(), s.GraphURL(), s.CA().PEM(), s.Users(), g.outer}); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if n, err := strconv.Atoi(in.Text()); err == nil {
			if err := g.move(n); err != nil {
				return err
			}
		}
		byCall, all := s.Calls()
		s.ResetCalls()
		if err := say.Encode(counted{byCall[graph.CallUserDelta], all - byCall[graph.CallToken], byCall[graph.CallCheckGroups] + byCall[graph.CallUser]}); err != nil {
			return err
		}
	}
	return nil
}

// crowd is a group of some of the sandbox's crowd, inside of another group.
type crowd struct {
	*graph.Server
	outer, inner string
	first, next  int // the numbers of those in it
}

func (g *crowd) begin(n int) (err error) {
	if g.outer, err = g.Apply(graph.Change{Op: graph.OpAddGroup, Name: "outer"}); err != nil {
		return err
	}
	if g.inner, err = g.Apply(graph.Change{Op: graph.OpAddGroup, Name: "inner"}); err != nil {
		return err
	}
	if _, err = g.Apply(graph.Change{Op: graph.OpJoinGroup, Item: g.inner, Into: g.outer}); err != nil {
		return err
	}
	g.first, g.next = firstOfCrowd, firstOfCrowd
	return g.join(n)
}

// firstOfCrowd is a number behind those of the people with mailboxes.
const firstOfCrowd = 100

func (g *crowd) join(n int) error {
	for range n {
		if _, err := g.Apply(graph.Change{Op: graph.OpJoinGroup, User: fmt.Sprintf("crowd%d@acme.example", g.next), Into: g.inner}); err != nil {
			return err
		}
		g.next++
	}
	return nil
}

func (g *crowd) move(n int) error {
	for range n {
		if _, err := g.Apply(graph.Change{Op: graph.OpLeaveGroup, User: fmt.Sprintf("crowd%d@acme.example", g.first), Into: g.inner}); err != nil {
			return err
		}
		g.first++
	}
	return g.join(n)
}

// peer is the sandbox's process seen from outside.
type peer struct {
	served
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func startPeer(ctx context.Context, people, every, grouped int) (*peer, error) {
	cmd := exec.CommandContext(ctx, os.Args[0], "-serve", "-people", fmt.Sprint(people), "-throttle", fmt.Sprint(every), "-grouped", fmt.Sprint(grouped))
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

// ask lets so many leave the group, and so many others join it, and gives how many requests came since it was asked last.
func (p *peer) ask(moved int) (c counted, err error) {
	if _, err := fmt.Fprintln(p.in, moved); err != nil {
		return c, err
	}
	return c, p.out.Decode(&c)
}

// plainSeconds is how long a plain client takes to follow all pages, which it throws away.
func plainSeconds(ctx context.Context, people int) (float64, error) {
	p, err := startPeer(ctx, people, 0, 0)
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
