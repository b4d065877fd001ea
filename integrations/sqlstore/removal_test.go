package sqlstore

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// enrolHolding admits a connector that says it holds the generations.
func enrolHolding(t *testing.T, s *Store, name string, holds ...backup.HeldKey) {
	t.Helper()
	openEnrolment(t, s, name, "token of "+name)
	must(t, present(t, s, "token of "+name, "ed25519:"+name, at(0)))
	must(t, s.PinEnrolled(t.Context(), acme, name))
	must(t, s.CloseEnrolment(t.Context(), acme, name))
	must(t, s.DescribeConnector(t.Context(), acme, name, backup.ConnectorSelf{Recipient: []byte(name), Holds: holds}))
}

func remove(t *testing.T, s *Store, name string) error {
	t.Helper()
	_, err := s.UnpinEnrolled(t.Context(), acme, name)
	return err
}

// inUse makes the next generation and puts it into use.
func inUse(t *testing.T, s *Store, method backup.KeyMethod, check string) backup.HeldKey {
	t.Helper()
	k := addEKey(t, s, method, 0)
	k.Check = check
	must(t, s.UpdateEKey(t.Context(), k))
	must(t, s.ActivateEKey(t.Context(), acme, k.Generation, at(0), at(1)))
	return backup.HeldKey{Generation: k.Generation, Check: check}
}

// A connector that was removed is nobody any more: it is not found, is handed nothing, is lost at the next sweep, and cannot come back by
// the token that admitted it.
func TestRemovedConnectorIsNobody(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith())
	key := inUse(t, s, backup.KeyByConnector, "ed25519:one")
	enrolHolding(t, s, "hq", key)
	enrolHolding(t, s, "lab", key)
	_, _, err := s.MarkConnectorSeen(t.Context(), acme, "lab", noon)
	must(t, err)
	must(t, s.PutKeyRequest(t.Context(), request("r1", noon)))

	for range 2 { // again, after the first answer was lost
		c := got[backup.ConnectorStatus](t)(s.UnpinEnrolled(t.Context(), acme, "lab"))
		if c.Identity != "ed25519:lab" || len(c.Holds) != 1 {
			t.Errorf("removed was %+v", c)
		}
	}
	wantPinned(t, s, "hq=ed25519:hq enrolled")
	_, err = s.PinnedConnector(t.Context(), acme, "lab")
	wantCode(t, err, backup.CodeNotFound)
	_, _, err = s.MarkConnectorSeen(t.Context(), acme, "lab", noon)
	wantCode(t, err, backup.CodeNotFound)
	if ids := taken(t, s, acme, "lab", noon, 9); ids != nil { // a poll that was waiting meanwhile
		t.Errorf("it was handed %q", ids)
	}
	lost := got[[]backup.ConnectorPresence](t)(s.MarkConnectorsLost(t.Context(), noon.Add(-time.Hour), noon))
	if len(lost) != 1 || lost[0].Connector != "lab" {
		t.Errorf("lost are %+v", lost)
	}
	wantCode(t, present(t, s, "token of lab", "ed25519:lab", at(0)), backup.CodeDenied)
	saveTenant(t, s, acmeWith(berlin)) // applying a file brings nobody back
	wantPinned(t, s, "berlin=ed25519:B, hq=ed25519:hq enrolled")
	wantCode(t, remove(t, s, "berlin"), backup.CodeNotAllowed)
	wantCode(t, remove(t, s, "rome"), backup.CodeNotFound)
}

// The generation that is in use keeps a holder that says so itself, with the right key; what the removed one says does not count.
func TestLastHolderIsNotRemoved(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith())
	enrolHolding(t, s, "early")
	must(t, remove(t, s, "early")) // there is no key yet
	one := inUse(t, s, backup.KeyByConnector, "ed25519:one")
	enrolHolding(t, s, "hq", one)
	enrolHolding(t, s, "empty")
	enrolHolding(t, s, "wrong", backup.HeldKey{Generation: 1, Check: "ed25519:another"})
	wantCode(t, remove(t, s, "hq"), backup.CodeNotAllowed)
	must(t, remove(t, s, "empty"))
	two := inUse(t, s, backup.KeyByConnector, "ed25519:two")
	wantCode(t, remove(t, s, "wrong"), backup.CodeNotAllowed) // hq is not known to hold the second generation
	must(t, s.DescribeConnector(t.Context(), acme, "hq", backup.ConnectorSelf{Holds: []backup.HeldKey{one, two}}))
	must(t, remove(t, s, "wrong"))
	next := addEKey(t, s, backup.KeyByConnector, 0) // a rotation is under way
	next.Check = "ed25519:three"
	enrolHolding(t, s, "lab", one, two, backup.HeldKey{Generation: next.Generation, Check: next.Check})
	enrolHolding(t, s, "new", two)
	must(t, s.UpdateEKey(t.Context(), next))
	wantCode(t, remove(t, s, "lab"), backup.CodeNotAllowed) // the repository may open with the third generation already
	must(t, remove(t, s, "new"))
	must(t, s.EndEKey(t.Context(), acme, next.Generation, backup.EKeyRetired, at(1)))
	must(t, remove(t, s, "lab"))
	inUse(t, s, backup.KeyByKMS, "ed25519:four")
	must(t, remove(t, s, "hq")) // the key is with the KMS
	wantPinned(t, s, "")
}

// Of two holders that are removed at the same time, one stays.
func TestRacingRemovalsLeaveAHolder(t *testing.T) {
	a, b := twoStores(t)
	saveTenant(t, a, acmeWith())
	key := inUse(t, a, backup.KeyByConnector, "ed25519:one")
	names := []string{"hq", "lab"}
	for _, name := range names {
		enrolHolding(t, a, name, key)
	}
	raceOn(t, a, b, 2, func(ctx context.Context, s *Store, w int) error {
		_, err := s.UnpinEnrolled(ctx, acme, names[w])
		if backup.HasCode(err, backup.CodeNotAllowed) {
			return nil
		}
		return err
	})
	if all := got[[]backup.ConnectorStatus](t)(a.PinnedConnectors(t.Context(), acme)); len(all) != 1 {
		t.Errorf("left are %+v", all)
	}
}
