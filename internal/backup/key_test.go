package backup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
)

// The password depends on key, tenant and repository, and stays the same for the life of all three.
func TestRepositoryPassword(t *testing.T) {
	password := func(key byte, tenant, repository string) string {
		l, err := NewLease(bytes.Repeat([]byte{key}, EKeySize), 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		p, err := l.RepositoryPassword(tenant, repository)
		if err != nil || len(p) != 64 {
			t.Fatal(p, err)
		}
		return p
	}
	// A change of the derivation locks everybody out of the repositories there are. The value was derived by another implementation of RFC 5869, too.
	const golden = "594b255c5751daed8b0dad1511f26289b8ddf90b273835fd4c408241e1cd7fd4"
	if got := password(1, "acme", "acme"); got != golden {
		t.Errorf("the derivation changed: %s", got)
	}
	for _, other := range []string{password(2, "acme", "acme"), password(1, "acme", "other"), password(1, "other", "acme"), password(1, "acmea", "cme")} {
		if other == golden {
			t.Error("another key, tenant or repository gives the same password")
		}
	}
}

// A key is not printed by mistake: neither by a verb nor by whoever logs a value as JSON.
func TestNoKeyIsPrinted(t *testing.T) {
	key := bytes.Repeat([]byte("K"), EKeySize)
	l, err := NewLease(key, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	release := KeyRelease{EKey: key, Holder: "vault"}
	text, err := json.Marshal([]any{release, l})
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		text = fmt.Appendf(text, format+format, release, l)
		text = fmt.Appendf(text, format, &release)
	}
	for _, form := range []string{"KKK", "75 75", "75, 75", "4b4b", "0x4b", "S0tL"} {
		if bytes.Contains(text, []byte(form)) {
			t.Errorf("%s is in %s", form, text)
		}
	}
}

func TestAClosedLeaseGivesNothing(t *testing.T) {
	key := bytes.Repeat([]byte{7}, EKeySize)
	l, err := NewLease(key, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	l.Close()
	if _, err := l.RepositoryPassword("acme", "acme"); err == nil {
		t.Error("a closed lease gives a password")
	}
	if !bytes.Equal(key, make([]byte, EKeySize)) {
		t.Error("the key is not wiped")
	}
	if _, err := NewLease(make([]byte, 31), 1, 1); err == nil {
		t.Error("a key of 31 bytes is taken")
	}
}
