package workflows

import (
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const removeLab = "remove/acme/lab"

var removeInput = RemoveConnectorInput{Tenant: "acme", Connector: "lab", RequestedBy: anna}

var lastHolder = backup.Verdict{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Detail: "no other connector of acme is known to hold it", Hint: "admit another one first"}

func TestRemoveConnector(t *testing.T) {
	s := newKeyStage(t, removeLab)
	s.keys.pinned, s.keys.enrolment.Identity = true, labKey
	s.ExecuteWorkflow(RemoveConnector, removeInput)
	var result RemoveConnectorResult
	s.mustComplete(&result)
	if result.Identity != labKey || s.keys.pinned || len(s.told()) != 0 {
		t.Errorf("%+v, pinned %v, told %v", result, s.keys.pinned, s.told())
	}
}

// Whoever asks must be an administrator, and the last holder stays.
func TestRemovalsThatAreRefused(t *testing.T) {
	for by, c := range map[string]struct {
		want  backup.Code
		asked int
	}{
		"cleo@acme.example":     {backup.CodeNotAllowed, 0}, // a viewer
		"eve@elsewhere.example": {backup.CodeUnknownPrincipal, 0},
		bySchedule:              {backup.CodeUnknownPrincipal, 0},
		anna:                    {backup.CodeNotAllowed, 1},
	} {
		s := newKeyStage(t, removeLab)
		s.keys.pinned = true
		s.away("RemoveConnector", lastHolder)
		in := removeInput
		in.RequestedBy = by
		s.ExecuteWorkflow(RemoveConnector, in)
		if v := s.mustFail(c.want); v.Hint == "" || !s.keys.pinned || s.times("RemoveConnector") != c.asked {
			t.Errorf("%s: %+v, pinned %v, asked %d times", by, v, s.keys.pinned, s.times("RemoveConnector"))
		}
	}
}
