package connector

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// SetupOf is what a token tells a new connector.
func SetupOf(t backup.EnrolmentToken) Setup {
	return Setup{Connector: t.Connector, Tenant: t.Tenant, Workers: t.Workers, Gateway: t.Gateway, GatewayCA: t.GatewayCA}
}

// Enroll shows the token to its gateway in the name of the key file, which must be on disk by then: what the gateway has heard of must
// not be forgotten. A gateway that cannot be reached is tried until the token expires. CodeDenied: the gateway refused the token for good.
//
// An answer can get lost after the token was used up. Then the gateway refuses the next try, and that is no error here: the connector's
// hello tells whether it was let in.
func (s *KeyStore) Enroll(ctx context.Context, token backup.EnrolmentToken, now func() time.Time, log *zap.Logger) error {
	self := s.self()
	if self.Tenant != token.Tenant || self.Connector != token.Connector {
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the key file is of connector " + self.Connector + " of tenant " + self.Tenant + ", and the token of connector " + token.Connector + " of tenant " + token.Tenant,
			Hint: "name another key file, or make a token for this connector"}
	}
	self.Gateway, self.GatewayCA = token.Gateway, token.GatewayCA
	c := newClient(self, now)
	defer c.close()
	var written atomic.Bool // the gateway may have heard
	for retry := newPause(retryLeast, retryMost); ; {
		switch late := !token.Expires.After(now()); {
		case late && written.Load():
			log.Warn("the token has expired; a try whose answer was lost may have used it before", zap.String("identity", self.Identity()))
			return nil
		case late:
			return &backup.Error{Code: backup.CodeDenied, Fault: backup.FaultCustomer, Message: "the enrolment token expired at " + token.Expires.Format(time.RFC3339),
				Hint: "make a new one: holdfast connector enroll " + token.Tenant + " --name " + token.Connector}
		}
		heard := written.Load()
		err := c.enroll(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { written.Store(true) }}), token)
		var f *Failure
		switch refused := errors.As(err, &f); {
		case err == nil:
			return nil
		case refused && f.Code == FailEnrolment && heard:
			log.Warn("the token was used up by a try whose answer was lost, or by somebody else", zap.String("identity", self.Identity()))
			return nil
		case refused && final(err) && f.Code != FailEnrolOften && f.Code != FailStale:
			return &backup.Error{Code: backup.CodeDenied, Fault: backup.FaultCustomer, Message: "the gateway did not take the enrolment token", Hint: f.Hint, Cause: f}
		case refused && f.Code != FailStore:
			written.Store(heard) // this time it did nothing
		}
		log.Warn("the enrolment is tried again", zap.String("gateway", token.Gateway), zap.Error(err))
		if err := retry.wait(ctx); err != nil {
			return err
		}
	}
}

func (c *client) enroll(ctx context.Context, token backup.EnrolmentToken) error {
	q := newEnrolCall(token, c.key, c.now())
	defer clear(q.Secret)
	body, err := q.wire()
	if err != nil {
		return err
	}
	defer clear(body)
	var reply enrolReply
	if err := c.call(ctx, callTime, enrolPath, body, &reply); err != nil {
		return err
	}
	if reply.Version != Version {
		return fmt.Errorf("the gateway speaks version %d, this connector %d", reply.Version, Version)
	}
	return nil
}

// explain says plainly what a connector that is not pinned waits for.
func (a *Agent) explain(err error) error {
	var f *Failure
	if !errors.As(err, &f) || f.Code != FailNotPinned {
		return err
	}
	return &Failure{FailNotPinned, "waiting for an administrator to approve identity " + a.key.Identity(),
		"holdfast inbox " + a.key.Tenant + " shows an enrolment that waits; a connector that was not enrolled goes under key.connectors in the tenant's file, as " + a.key.Connector}
}
