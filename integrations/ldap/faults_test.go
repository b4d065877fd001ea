package ldap_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
)

// TestFaults goes through what a real directory does on a bad day and slapd does not do on demand.
func TestFaults(t *testing.T) {
	d, server := sandboxServer(t, company())
	cases := map[string]struct {
		faults    ldapserver.Faults
		code      backup.Code
		retryable bool
		people    int
	}{
		"busy":                         {ldapserver.Faults{Busy: true}, backup.CodeThrottled, true, 0},
		"cut in the first page":        {ldapserver.Faults{CutPage: 1}, backup.CodeBadResponse, true, 0},
		"cut in the third page":        {ldapserver.Faults{CutPage: 3}, backup.CodeBadResponse, true, 1000},
		"cut in the last page":         {ldapserver.Faults{CutPage: 5}, backup.CodeBadResponse, true, 2000},
		"a size limit":                 {ldapserver.Faults{SizeLimit: 1700}, backup.CodeBadConfig, false, 1500},
		"everything at once, no pages": {ldapserver.Faults{NoPaging: true}, backup.CodeBadResponse, true, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := opened(t, d.config())
			server.SetFaults(c.faults)
			defer server.SetFaults(ldapserver.Faults{})
			got, err := list(t.Context(), dir)
			wantError(t, err, c.code, c.retryable)
			if got.total != c.people {
				t.Errorf("%d people before the error, want %d", got.total, c.people)
			}
			server.SetFaults(ldapserver.Faults{})
			if again, err := list(t.Context(), opened(t, d.config())); err != nil || again.total != 2500 {
				t.Errorf("afterwards: %d people, %v", again.total, err)
			}
		})
	}
}

// TestASmallListingWithoutThePagingControlIsNotTrusted: with fewer people than fit on a page nothing else gives it away.
func TestASmallListingWithoutThePagingControlIsNotTrusted(t *testing.T) {
	d, server := sandboxServer(t, company()[:25])
	dir := opened(t, d.config())
	server.SetFaults(ldapserver.Faults{NoPaging: true})
	_, err := list(t.Context(), dir)
	wantError(t, err, backup.CodeBadResponse, false, "paged")
}

func TestAnEmptyListingIsNoErrorHere(t *testing.T) {
	d, server := sandboxServer(t, company()[:25])
	server.SetFaults(ldapserver.Faults{Empty: true})
	got, err := list(t.Context(), opened(t, d.config())) // whether it may be believed is backup.JudgeImport's to say
	if err != nil || got.total != 0 {
		t.Fatalf("%d people, %v", got.total, err)
	}
}

func TestCancellingWhileTheDirectoryIsSilent(t *testing.T) {
	d, server := sandboxServer(t, company()[:25])
	dir := opened(t, d.config())
	server.SetFaults(ldapserver.Faults{Stall: true})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	begin := time.Now()
	_, err := list(ctx, dir)
	if !errors.Is(err, context.Canceled) || time.Since(begin) > 2*time.Second {
		t.Fatalf("%v after %v", err, time.Since(begin))
	}
}

func TestPeopleChange(t *testing.T) {
	people := company()[:60]
	d, server := sandboxServer(t, people)
	dir := opened(t, d.config())
	changed := append(people[:0:0], people[1:]...)
	changed[0].Disabled, changed[1].Surname = true, "Newname"
	server.SetPeople(changed)
	got, err := list(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	wantPeople(t, got, changed)
}
