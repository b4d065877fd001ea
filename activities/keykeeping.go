package activities

import (
	"context"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// KeyKeeping changes, proves and destroys a tenant's ekey.
type KeyKeeping struct {
	Tenants      Tenants
	Keys         KeyKeeper
	Repositories Repositories
}

// PlanKey tells what the description says about the key, and which generation is active.
func (a *KeyKeeping) PlanKey(ctx context.Context, in TenantInput) (KeyPlanResult, error) {
	return KeyPlanResult{}, errNotBuilt
}

// PrepareKey makes the next generation, or finds the pending one again.
func (a *KeyKeeping) PrepareKey(ctx context.Context, in KeyChangeInput) (KeyChangeResult, error) {
	return KeyChangeResult{}, errNotBuilt
}

// ShareKey brings a generation to connectors.
func (a *KeyKeeping) ShareKey(ctx context.Context, in ShareKeyInput) (backup.Verdict, error) {
	return backup.Verdict{}, errNotBuilt
}

// RewrapRepository re-wraps the repository, proves that it opens with the new generation and not with the old one, and makes the
// new generation the active one.
func (a *KeyKeeping) RewrapRepository(ctx context.Context, in RewrapInput) (RewrapResult, error) {
	return RewrapResult{}, errNotBuilt
}

// RetireKey makes an old generation unobtainable.
func (a *KeyKeeping) RetireKey(ctx context.Context, in GenerationInput) (backup.Verdict, error) {
	return backup.Verdict{}, errNotBuilt
}

// DropKey gives up a pending generation and proves that the active one still opens the repository.
func (a *KeyKeeping) DropKey(ctx context.Context, in RewrapInput) (backup.Verdict, error) {
	return backup.Verdict{}, errNotBuilt
}

// RewrapKey wraps the active generation with the KMS's newest key version.
func (a *KeyKeeping) RewrapKey(ctx context.Context, in TenantInput) (backup.Verdict, error) {
	return backup.Verdict{}, errNotBuilt
}

// DrillKey asks every source of the key for proof.
func (a *KeyKeeping) DrillKey(ctx context.Context, in TenantInput) (backup.KeyDrill, error) {
	return backup.KeyDrill{}, errNotBuilt
}

// DestroyKey destroys the key at every holder.
func (a *KeyKeeping) DestroyKey(ctx context.Context, in TenantInput) (DestroyResult, error) {
	return DestroyResult{}, errNotBuilt
}

// ProveShred proves that the key is gone and stores the signed report.
func (a *KeyKeeping) ProveShred(ctx context.Context, in ShredProofInput) (ShredProofResult, error) {
	return ShredProofResult{}, errNotBuilt
}

// Enrolling admits connectors.
type Enrolling struct {
	Tenants    Tenants
	Enrolments Enrolments
}

// OpenEnrolment makes the token good.
func (a *Enrolling) OpenEnrolment(ctx context.Context, in EnrolInput) error { return errNotBuilt }

// ReadEnrolment tells what was presented so far.
func (a *Enrolling) ReadEnrolment(ctx context.Context, in EnrolmentInput) (backup.Enrolment, error) {
	return backup.Enrolment{}, errNotBuilt
}

// PinConnector pins the presented connector.
func (a *Enrolling) PinConnector(ctx context.Context, in EnrolmentInput) error { return errNotBuilt }

// CloseEnrolment makes the token useless.
func (a *Enrolling) CloseEnrolment(ctx context.Context, in EnrolmentInput) error { return errNotBuilt }

var errNotBuilt = &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "not built yet"}
