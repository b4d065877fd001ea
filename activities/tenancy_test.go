package activities

import (
	"context"
	"errors"
	"testing"

	"go.temporal.io/sdk/temporal"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// registry is a store of at most one tenant.
type registry struct{ stored *backup.Tenant }

func (r registry) SaveTenant(context.Context, backup.Tenant) error { return nil }

func (r registry) Tenant(_ context.Context, id string) (backup.Tenant, error) {
	if r.stored == nil {
		return backup.Tenant{}, &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "there is no tenant " + id}
	}
	return *r.stored, nil
}

// Who is in charge is what the stored description says; a proposed one counts only for a tenant that has none.
func TestCheckAdministratorPrefersTheStoredTenant(t *testing.T) {
	described := func(admin string) *backup.Tenant {
		return &backup.Tenant{ID: "acme", Administrators: []backup.Principal{{Name: admin, Role: backup.CloudAdmin}}}
	}
	for name, c := range map[string]struct {
		stored, proposed *backup.Tenant
		by               string
		want             backup.Code
	}{
		"known to the stored one":          {described("anna"), described("eve"), "anna", ""},
		"known to the proposed one only":   {described("anna"), described("eve"), "eve", backup.CodeUnknownPrincipal},
		"proposed, nothing stored":         {nil, described("eve"), "eve", ""},
		"a stranger to a proposed one":     {nil, described("anna"), "eve", backup.CodeUnknownPrincipal},
		"the local user, nothing stored":   {nil, described("anna"), "local", ""},
		"the local user of a stored one":   {described("anna"), nil, "local", ""},
		"nothing stored, nothing proposed": {nil, nil, "local", backup.CodeNotFound},
	} {
		a := &Tenancy{Tenants: registry{c.stored}, Local: []backup.Principal{{Name: "local", Role: backup.CloudAdmin}}}
		v, err := a.CheckAdministrator(t.Context(), AdministratorInput{Tenant: "acme", RequestedBy: c.by, Proposed: c.proposed})
		if refused := (*temporal.ApplicationError)(nil); errors.As(err, &refused) {
			v.Code = backup.Code(refused.Type())
		}
		if v.Code != c.want || v.Passing != (c.want == "") {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
		err = a.AuthorizeDecision(t.Context(), AuthorizeInput{Tenant: "acme", Decision: backup.Decision{Action: backup.Abort, By: c.by}, Proposed: c.proposed})
		if (err == nil) != (c.want == "") {
			t.Errorf("%s: a decision: %v", name, err)
		}
	}
}
