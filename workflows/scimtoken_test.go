package workflows

import (
	"context"
	"testing"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

var tokenInput = ChangeSCIMTokenInput{Tenant: "acme", Directory: "okta", Label: "okta", Hash: make([]byte, 32), RequestedBy: anna}

// tokenActivities are those of the world of the tests.
func (w *world) tokenActivities() map[string]any {
	return map[string]any{
		"AddToken": func(context.Context, activities.AddTokenInput) error {
			_, err := w.act("AddToken", func(*vault) {})
			return err
		},
		"RevokeToken": func(context.Context, activities.RevokeTokenInput) error {
			_, err := w.act("RevokeToken", func(*vault) {})
			return err
		},
	}
}

func TestSCIMTokensAreChangedByAdministratorsOnly(t *testing.T) {
	for by, c := range map[string]struct {
		want  backup.Code
		asked int
	}{
		anna:                    {"", 1},
		"cleo@acme.example":     {backup.CodeNotAllowed, 0}, // a viewer
		"eve@elsewhere.example": {backup.CodeUnknownPrincipal, 0},
	} {
		for revoke, activity := range map[bool]string{false: "AddToken", true: "RevokeToken"} {
			s := newKeyStage(t, ChangeSCIMTokenID("acme", "okta"))
			in := tokenInput
			in.RequestedBy, in.Revoke = by, revoke
			s.ExecuteWorkflow(ChangeSCIMToken, in)
			if c.want == "" {
				s.mustComplete(nil)
			} else {
				s.mustFail(c.want)
			}
			if s.times(activity) != c.asked {
				t.Errorf("%s: %s was called %d times", by, activity, s.times(activity))
			}
		}
	}
}

func walkToken(t *testing.T, r *rig) {
	id := ChangeSCIMTokenID("acme", "okta")
	run := r.start(id, ChangeSCIMTokenName, tokenInput)
	r.await(run, nil)
	keep(t, r, "scim-token", id, run.GetRunID())
	in := tokenInput
	in.Revoke = true
	revoked := r.start(id, ChangeSCIMTokenName, in)
	r.await(revoked, nil)
	keep(t, r, "scim-token-revoked", id, revoked.GetRunID())
}
