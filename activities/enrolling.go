package activities

import (
	"bytes"
	"context"
	"crypto/sha256"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Enrolling admits connectors, and removes them.
type Enrolling struct {
	Tenants    Tenants
	Enrolments Enrolments
}

// OpenEnrolment makes the token good. Asked again for the same token, it leaves what a connector may have shown meanwhile.
func (a *Enrolling) OpenEnrolment(ctx context.Context, in EnrolInput) error {
	if len(in.SecretHash) != sha256.Size || in.Expires.IsZero() {
		return fail(&backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "an enrolment needs the SHA-256 of its token's secret and an end",
			Hint: "make the token by holdfast connector enroll TENANT --name NAME"})
	}
	if _, err := a.Tenants.Tenant(ctx, in.Tenant); err != nil {
		return fail(err)
	}
	known, err := a.Enrolments.Enrolment(ctx, in.Tenant, in.Connector)
	if err == nil && bytes.Equal(known.SecretHash, in.SecretHash) {
		return nil
	}
	if err != nil && !backup.HasCode(err, backup.CodeNotFound) {
		return fail(err)
	}
	return fail(a.Enrolments.OpenEnrolment(ctx, backup.Enrolment{Tenant: in.Tenant, Connector: in.Connector, SecretHash: in.SecretHash, Expires: in.Expires}))
}

// ReadEnrolment tells what was presented so far.
func (a *Enrolling) ReadEnrolment(ctx context.Context, in EnrolmentInput) (backup.Enrolment, error) {
	e, err := a.Enrolments.Enrolment(ctx, in.Tenant, in.Connector)
	return e, fail(err)
}

// PinConnector pins the presented connector.
func (a *Enrolling) PinConnector(ctx context.Context, in EnrolmentInput) error {
	return fail(a.Enrolments.PinEnrolled(ctx, in.Tenant, in.Connector))
}

// CloseEnrolment makes the token useless.
func (a *Enrolling) CloseEnrolment(ctx context.Context, in EnrolmentInput) error {
	return fail(a.Enrolments.CloseEnrolment(ctx, in.Tenant, in.Connector))
}

// RemoveConnector takes back the admission of a connector: no gateway listens to it any more. What it holds stays with it.
func (a *Enrolling) RemoveConnector(ctx context.Context, in EnrolmentInput) (RemovedConnector, error) {
	c, err := a.Enrolments.UnpinEnrolled(ctx, in.Tenant, in.Connector)
	return RemovedConnector{Identity: c.Identity}, fail(err)
}
