package backup

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

func testCA(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "gateway"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func goodToken(t testing.TB) EnrolmentToken {
	t.Helper()
	token, err := NewEnrolmentToken(EnrolmentToken{Tenant: "acme", Connector: "hq", Gateway: "https://gateway.example:8443", GatewayCA: testCA(t),
		Workers: []string{"ed25519:" + strings.Repeat("A", 43)}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAnEnrolmentTokenReadsAsItWasMade(t *testing.T) {
	made := goodToken(t)
	text := made.Text()
	for _, pasted := range []string{text, " " + text + "\r\n", text[:70] + "\n  " + text[70:300] + "\r\n" + text[300:]} {
		read, err := ParseEnrolmentToken(pasted)
		if err != nil {
			t.Fatal(err)
		}
		if read.Tenant != "acme" || read.Connector != "hq" || read.Gateway != made.Gateway || !bytes.Equal(read.GatewayCA, made.GatewayCA) ||
			!slices.Equal(read.Workers, made.Workers) || !read.Expires.Equal(made.Expires) || !bytes.Equal(read.Secret(), made.Secret()) {
			t.Fatalf("read %v, made %v", read, made)
		}
	}
	sum := sha256.Sum256(made.Secret())
	if !bytes.Equal(made.Hash(), sum[:]) {
		t.Fatal("the hash is not the SHA-256 of the secret")
	}
	if bytes.Equal(goodToken(t).Secret(), made.Secret()) {
		t.Fatal("two tokens have one secret")
	}
	t.Logf("a token of one worker and one certificate has %d characters", len(text))
}

// A token that was torn in copying, wherever, is told from one that never was one.
func TestATornEnrolmentTokenIsRecognised(t *testing.T) {
	text := goodToken(t).Text()
	for n := len(tokenPrefix); n < len(text); n++ {
		if _, err := ParseEnrolmentToken(text[:n]); !isTorn(err) {
			t.Fatalf("cut after %d: %v", n, err)
		}
	}
	for i := len(tokenPrefix); i < len(text); i++ {
		other := byte('A')
		if text[i] == 'A' {
			other = 'B'
		}
		if _, err := ParseEnrolmentToken(text[:i] + string(other) + text[i+1:]); !isTorn(err) {
			t.Fatalf("changed at %d: %v", i, err)
		}
	}
	if _, err := ParseEnrolmentToken(text + "AAAA"); !isTorn(err) {
		t.Fatal(err)
	}
	for _, other := range []string{"", "hello", "hfenroll2." + text[len(tokenPrefix):], strings.Repeat("x", 1<<20)} {
		if _, err := ParseEnrolmentToken(other); err == nil || isTorn(err) || !HasCode(err, CodeBadConfig) {
			t.Fatalf("%.20q: %v", other, err)
		}
	}
}

func isTorn(err error) bool { return err != nil && strings.Contains(err.Error(), "not whole") }

func TestAnEnrolmentTokenNeverPrintsItsSecret(t *testing.T) {
	token := goodToken(t)
	encoded, _ := json.Marshal(token)
	said := fmt.Sprintf("%v %+v %#v %s %q %x %X %d %c %v %#v", token, token, token, token, token, token, token, token, token, &token, []any{token}) + string(encoded)
	secret := token.Secret()
	for _, form := range []string{string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)), base64.StdEncoding.EncodeToString(secret)[:40],
		base64.RawURLEncoding.EncodeToString(secret), strings.Trim(fmt.Sprint(secret), "[]"), strings.Trim(fmt.Sprintf("%#v", secret), "[]byte{}")} {
		if strings.Contains(said, form) {
			t.Fatalf("the secret is in what was printed: %s", said)
		}
	}
	if !strings.Contains(said, `connector "hq" of tenant "acme"`) {
		t.Fatal(said)
	}
}

func TestABadEnrolmentTokenIsNotMade(t *testing.T) {
	good := goodToken(t)
	for what, change := range map[string]func(*EnrolmentToken){
		"tenant":    func(e *EnrolmentToken) { e.Tenant = "ACME" },
		"connector": func(e *EnrolmentToken) { e.Connector = "h q" },
		"http":      func(e *EnrolmentToken) { e.Gateway = "http://gateway.example" },
		"user":      func(e *EnrolmentToken) { e.Gateway = "https://a:b@gateway.example" },
		"no CA":     func(e *EnrolmentToken) { e.GatewayCA = nil },
		"no cert": func(e *EnrolmentToken) {
			e.GatewayCA = []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
		},
		"many CAs":      func(e *EnrolmentToken) { e.GatewayCA = bytes.Repeat(e.GatewayCA, maxTokenCAs+1) },
		"no worker":     func(e *EnrolmentToken) { e.Workers = nil },
		"bad worker":    func(e *EnrolmentToken) { e.Workers = []string{"ed25519:short"} },
		"many workers":  func(e *EnrolmentToken) { e.Workers = slices.Repeat(e.Workers, maxTokenWorkers+1) },
		"no expiry":     func(e *EnrolmentToken) { e.Expires = time.Time{} },
		"endless":       func(e *EnrolmentToken) { e.Expires = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"long gateway":  func(e *EnrolmentToken) { e.Gateway = "https://" + strings.Repeat("a", 600) },
		"empty gateway": func(e *EnrolmentToken) { e.Gateway = "" },
	} {
		bad := good
		change(&bad)
		if _, err := NewEnrolmentToken(bad); !HasCode(err, CodeBadConfig) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzParseEnrolmentToken: what is read is good and reads the same when it is written again. The checksum is put right, because a fuzzer
// does not find one.
func FuzzParseEnrolmentToken(f *testing.F) {
	whole, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(goodToken(f).Text(), tokenPrefix))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[:len(whole)-tokenChecksum], "")
	f.Add([]byte{0, 32}, "hfenroll1.AAAA")
	f.Fuzz(func(t *testing.T, body []byte, text string) {
		sum := sha256.Sum256(body)
		for _, text := range []string{text, tokenPrefix + base64.RawURLEncoding.EncodeToString(append(slices.Clip(body), sum[:tokenChecksum]...))} {
			token, err := ParseEnrolmentToken(text)
			if err != nil {
				if !HasCode(err, CodeBadConfig) {
					t.Fatal(err)
				}
				continue
			}
			again, err := ParseEnrolmentToken(token.Text())
			if err != nil || again.Text() != token.Text() || !bytes.Equal(again.Secret(), token.Secret()) {
				t.Fatalf("written again it is another one: %v", err)
			}
		}
	})
}
