package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

const (
	// maxValid is how long a token may be good at most: whoever has it can enroll in the connector's place.
	maxValid = 24 * time.Hour
	minValid = time.Minute
	// maxCAFile bounds the gateway's certificates in bytes.
	maxCAFile = 64 << 10
)

type enrollOptions struct {
	name, by, gateway, caFile string
	workers                   []string
	valid                     time.Duration
	replace, wait             bool
}

// enrolled is what `connector enroll --json` prints. The token is a secret until it was used.
type enrolled struct {
	Tenant    string    `json:"tenant"`
	Connector string    `json:"connector"`
	Token     string    `json:"token"`
	Expires   time.Time `json:"expires"`
}

func newConnectorEnroll(p *program) *cobra.Command {
	o := enrollOptions{valid: 15 * time.Minute}
	cmd := &cobra.Command{
		Use: "enroll TENANT --name NAME", Short: "Print a one-time token that admits a new connector",
		Long: `Makes a token on this machine that admits one connector, once, within a short time. Standard output is the token and nothing else; carry it like a
password to the connector's machine, and give it to holdfastd connector --enroll - there. Holdfast itself keeps only the token's SHA-256.

The tenant's first connector is admitted at once and makes the key. Every further one gets the key from one that holds it, after an administrator
has compared its identity and approved it: holdfast approve TENANT connector.`,
		Example: `  holdfast connector enroll acme --name hq
  holdfast connector enroll acme --name branch --valid 1h >token
  holdfast connector enroll acme --name hq --gateway https://gateway.example:8443 --gateway-ca gateway.pem`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runEnroll(cmd.Context(), p, args[0], o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "the connector's name: small letters, digits and dashes")
	f.DurationVar(&o.valid, "valid", o.valid, "how long the token is good, 24h at most")
	f.StringVar(&o.by, "by", "", "in whose name (default: this machine's user)")
	f.StringVar(&o.gateway, "gateway", "", "the gateway as the connector reaches it: https://host:port (default: as this machine does)")
	f.StringVar(&o.caFile, "gateway-ca", "", "PEM file that the gateway's certificate must come from (default: this machine's)")
	f.StringArrayVar(&o.workers, "worker", nil, "public identity of the workers that may ask (default: what the gateway says); may be repeated")
	f.BoolVar(&o.replace, "replace", false, "give up an enrolment of the same name that is under way")
	f.BoolVar(&o.wait, "wait", false, "wait until the connector is admitted")
	return cmd
}

func runEnroll(ctx context.Context, p *program, tenant string, o enrollOptions) error {
	switch {
	case o.name == "":
		return &usageError{errors.New("which name shall the connector have? Give --name")}
	case o.valid < minValid || o.valid > maxValid:
		return &usageError{errors.New("--valid is a time from 1m to 24h")}
	}
	return p.withBoth(ctx, func(c flows, r reader, s settings) error {
		by, err := s.who(o.by)
		if err != nil {
			return err
		}
		token, err := p.newToken(ctx, r, s, tenant, o)
		if err != nil {
			return err
		}
		err = c.EnrollConnector(ctx, orchestrator.EnrolmentRequest{Tenant: tenant, Connector: o.name, SecretHash: token.Hash(), Expires: token.Expires, RequestedBy: by, Replace: o.replace})
		if err != nil {
			return err
		}
		if err := p.sayToken(token, o); err != nil || !o.wait {
			return err
		}
		return p.awaitEnrolment(ctx, c, tenant, o.name)
	})
}

// newToken gathers what the connector has to know. Nothing is asked of anybody but the gateway.
func (p *program) newToken(ctx context.Context, r reader, s settings, tenant string, o enrollOptions) (backup.EnrolmentToken, error) {
	t := backup.EnrolmentToken{Tenant: tenant, Connector: o.name, Gateway: cmp.Or(o.gateway, s.Gateway), Workers: o.workers, Expires: p.now().Add(o.valid)}
	var err error
	if t.GatewayCA, err = readCA(cmp.Or(o.caFile, s.CAFile)); err != nil {
		return t, err
	}
	if len(t.Workers) == 0 {
		w, err := r.WorkerIdentity(ctx)
		if err != nil {
			return t, err
		}
		t.Workers = []string{w.Identity}
	}
	return backup.NewEnrolmentToken(t)
}

func readCA(file string) ([]byte, error) {
	bad := func(err error) ([]byte, error) {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the gateway's certificate cannot be read",
			Hint: "give the PEM file with --gateway-ca or HOLDFAST_CA_FILE; holdfastd keeps it as gateway.pem", Cause: err}
	}
	if file == "" {
		return bad(nil)
	}
	f, err := os.Open(file)
	if err != nil {
		return bad(err)
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, maxCAFile))
	if err != nil {
		return bad(err)
	}
	return pem, nil
}

// sayToken keeps standard output for the token alone, so that it can be piped.
func (p *program) sayToken(t backup.EnrolmentToken, o enrollOptions) error {
	if p.json {
		return p.emit(enrolled{t.Tenant, t.Connector, t.Text(), t.Expires})
	}
	p.say("%s", t.Text())
	fmt.Fprintf(p.err, `
This admits the connector %s of %s, once, until %s. Carry it like a password to the connector's machine; there:
  holdfastd connector --enroll - --key-file connector.key      and give the token as its input
next: holdfast connector list %s
`, clean(t.Connector), clean(t.Tenant), p.when(t.Expires), clean(t.Tenant))
	return nil
}

func (p *program) awaitEnrolment(ctx context.Context, c flows, tenant, name string) error {
	var holds int
	err := p.during(ctx, "waiting for the connector "+clean(name), func(ctx context.Context) (err error) {
		holds, err = c.WaitEnrolment(ctx, tenant, name)
		return err
	}, func(ctx context.Context) string { return waitsIn(ctx, c, tenant, backup.TaskConnector) })
	if err != nil {
		return ranInto(err)
	}
	if holds == 0 {
		p.progress("%s is admitted; the key is made when it connects.", clean(name))
		return nil
	}
	p.progress("%s is admitted and holds generation %d of the key.", clean(name), holds)
	return nil
}
