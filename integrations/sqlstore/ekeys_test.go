package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func at(hours int) time.Time { return noon.Add(time.Duration(hours) * time.Hour) }

func addEKey(t *testing.T, s *Store, method backup.KeyMethod, hours int) backup.EKey {
	t.Helper()
	return got[backup.EKey](t)(s.AddEKey(t.Context(), acme, method, at(hours)))
}

// generations shows them as "1 connector retired, 2 kms active".
func generations(t *testing.T, s *Store) string {
	t.Helper()
	var all []string
	for _, k := range got[[]backup.EKey](t)(s.EKeys(t.Context(), acme)) {
		all = append(all, fmt.Sprint(k.Generation, " ", k.Method, " ", k.State))
	}
	return strings.Join(all, ", ")
}

func wantGenerations(t *testing.T, s *Store, want string) {
	t.Helper()
	if have := generations(t, s); have != want {
		t.Errorf("the generations are %q, want %q", have, want)
	}
}

func TestGenerationsLiveAndEnd(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith())
	first := addEKey(t, s, backup.KeyByConnector, 0)
	if want := (backup.EKey{Tenant: acme, Generation: 1, Method: backup.KeyByConnector, State: backup.EKeyPending, Created: at(0)}); first != want {
		t.Errorf("the first is %+v", first)
	}
	if again := addEKey(t, s, backup.KeyByKMS, 1); again != first {
		t.Errorf("asked again, it is %+v", again)
	}
	must(t, s.ActivateEKey(t.Context(), acme, 1, at(2), time.Time{}))
	second := addEKey(t, s, backup.KeyByKMS, 3)
	second.Check, second.Wrapped = "ed25519:C", "vault:v1:xyz"
	must(t, s.UpdateEKey(t.Context(), second))
	wantGenerations(t, s, "1 connector active, 2 kms pending")
	for range 2 { // again is the same as once, whatever the later times say
		must(t, s.ActivateEKey(t.Context(), acme, 2, at(4), at(100)))
	}
	must(t, s.ActivateEKey(t.Context(), acme, 2, at(5), at(200)))
	wantGenerations(t, s, "1 connector retiring, 2 kms active")
	all := got[[]backup.EKey](t)(s.EKeys(t.Context(), acme))
	if !all[0].RetireAfter.Equal(at(100)) || !all[1].Activated.Equal(at(4)) || all[1].Wrapped != "vault:v1:xyz" || all[1].Check != "ed25519:C" {
		t.Errorf("they are %+v", all)
	}
	wantCode(t, s.ActivateEKey(t.Context(), acme, 1, at(6), at(7)), backup.CodeNotAllowed)
	wantCode(t, s.EndEKey(t.Context(), acme, 2, backup.EKeyRetired, at(6)), backup.CodeNotAllowed)
	wantCode(t, s.EndEKey(t.Context(), acme, 1, backup.EKeyActive, at(6)), backup.CodeInternal)
	wantCode(t, s.EndEKey(t.Context(), acme, 9, backup.EKeyRetired, at(6)), backup.CodeNotFound)
	wantCode(t, s.ActivateEKey(t.Context(), acme, 9, at(6), at(7)), backup.CodeNotFound)
	for range 2 {
		must(t, s.EndEKey(t.Context(), acme, 1, backup.EKeyRetired, at(8)))
	}
	must(t, s.EndEKey(t.Context(), acme, 2, backup.EKeyDestroyed, at(9)))
	must(t, s.EndEKey(t.Context(), acme, 2, backup.EKeyRetired, at(10)))   // stays destroyed
	must(t, s.EndEKey(t.Context(), acme, 1, backup.EKeyDestroyed, at(11))) // a retired one can still be destroyed
	wantGenerations(t, s, "1 connector destroyed, 2 kms destroyed")
	if all = got[[]backup.EKey](t)(s.EKeys(t.Context(), acme)); all[1].Wrapped != "" || !all[1].Ended.Equal(at(9)) || all[1].Check != "ed25519:C" {
		t.Errorf("destroyed, it is %+v", all[1])
	}
	if next := addEKey(t, s, backup.KeyByKMS, 12); next.Generation != 3 {
		t.Errorf("the next is %+v", next)
	}
}

func TestCheckOfAGenerationNeverChanges(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith())
	k := addEKey(t, s, backup.KeyByKMS, 0)
	k.Check, k.Wrapped = "ed25519:C", "vault:v1:one"
	must(t, s.UpdateEKey(t.Context(), k))
	k.Check, k.Wrapped = "ed25519:D", "vault:v1:other"
	wantCode(t, s.UpdateEKey(t.Context(), k), backup.CodeWrongKey)
	k.Check, k.Wrapped = "ed25519:C", "vault:v2:one"
	must(t, s.UpdateEKey(t.Context(), k)) // wrapped anew
	k.Check, k.Wrapped = "", "vault:v3:late"
	must(t, s.UpdateEKey(t.Context(), k)) // made once more by an attempt that was given up for lost, and would replace a key in use
	if have := got[[]backup.EKey](t)(s.EKeys(t.Context(), acme))[0]; have.Check != "ed25519:C" || have.Wrapped != "vault:v2:one" {
		t.Errorf("it is %+v", have)
	}
	must(t, s.EndEKey(t.Context(), acme, 1, backup.EKeyRetired, at(1)))
	wantCode(t, s.UpdateEKey(t.Context(), k), backup.CodeRevoked)
	must(t, s.EndEKey(t.Context(), acme, 1, backup.EKeyDestroyed, at(2)))
	wantCode(t, s.UpdateEKey(t.Context(), k), backup.CodeDestroyed)
	k.Generation = 2
	wantCode(t, s.UpdateEKey(t.Context(), k), backup.CodeNotFound)
}

// The database itself keeps a second active or pending generation out, whatever program writes.
func TestTwoActiveGenerationsCannotBe(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith())
	addEKey(t, s, backup.KeyByConnector, 0)
	must(t, s.ActivateEKey(t.Context(), acme, 1, at(0), time.Time{}))
	addEKey(t, s, backup.KeyByConnector, 1)
	for _, change := range []string{`UPDATE ekey SET state = 'active'`, `UPDATE ekey SET state = 'pending'`} {
		if _, err := s.write.ExecContext(t.Context(), change); err == nil {
			t.Errorf("%s was made", change)
		}
	}
	wantGenerations(t, s, "1 connector active, 2 connector pending")
}

func TestGenerationsOfRacingProcesses(t *testing.T) {
	var made collected[int64]
	a, b := twoStores(t)
	saveTenant(t, a, acmeWith())
	raceOn(t, a, b, 20, func(ctx context.Context, s *Store, _ int) error {
		k, err := s.AddEKey(ctx, acme, backup.KeyByKMS, noon)
		made.add(int64(k.Generation))
		return err
	})
	raceOn(t, a, b, 20, func(ctx context.Context, s *Store, _ int) error { return s.ActivateEKey(ctx, acme, 1, noon, noon) })
	wantGenerations(t, a, "1 kms active")
	if made.all[0] != 1 || len(made.all) != 20 {
		t.Errorf("made were %v", made.all)
	}
}

func TestKeyStatusTellsOfGenerationsDrillAndShred(t *testing.T) {
	s := newStore(t)
	_, err := s.KeyStatus(t.Context(), acme)
	wantCode(t, err, backup.CodeNotFound)
	saveTenant(t, s, acmeWith())
	addEKey(t, s, backup.KeyByConnector, 0)
	if status := got[backup.KeyStatus](t)(s.KeyStatus(t.Context(), acme)); status.Generation != 0 || status.Method != backup.KeyByConnector || len(status.Generations) != 1 || status.Drill != nil || status.Shred != nil {
		t.Errorf("at first it is %+v", status)
	}
	must(t, s.ActivateEKey(t.Context(), acme, 1, at(0), time.Time{}))
	addEKey(t, s, backup.KeyByKMS, 1)
	must(t, s.ActivateEKey(t.Context(), acme, 2, at(1), at(9)))
	drill := backup.KeyDrill{Tenant: acme, Generation: 2, At: at(5), OK: true, Proofs: []backup.KeyProof{{Holder: "vault", Generation: 2, OK: true, Detail: "proved"}}}
	must(t, s.SaveDrill(t.Context(), drill))
	drill.At, drill.OK = at(4), false
	must(t, s.SaveDrill(t.Context(), drill)) // an older one that comes late
	shred := backup.ShredReport{Tenant: acme, Requested: at(6), Destroyed: at(7), ApprovedBy: []string{"bela", "chen"}, Signature: []byte{1, 2}}
	must(t, s.SaveShred(t.Context(), shred))
	shred.Signature = []byte{3, 4}
	must(t, s.SaveShred(t.Context(), shred))
	status := got[backup.KeyStatus](t)(s.KeyStatus(t.Context(), acme))
	if status.Method != backup.KeyByKMS || status.Generation != 2 || len(status.Generations) != 2 {
		t.Errorf("it is %+v", status)
	}
	if status.Drill == nil || !status.Drill.OK || !status.Drill.At.Equal(at(5)) || status.Drill.Proofs[0].Holder != "vault" {
		t.Errorf("the drill is %+v", status.Drill)
	}
	if status.Shred == nil || status.Shred.Signature[0] != 3 || len(status.Shred.ApprovedBy) != 2 || !status.Shred.Requested.Equal(at(6)) {
		t.Errorf("the report is %+v", status.Shred)
	}
}
