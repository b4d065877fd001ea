package graph

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// certificate makes a self-signed one, as an administrator would upload it.
func certificate() (*x509.Certificate, *rsa.PrivateKey) {
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "backup"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key))
	return must(x509.ParseCertificate(der)), key
}

var clientCertificate = sync.OnceValues(certificate)

// signAssertion makes a client assertion; edit spoils it.
func signAssertion(c *x509.Certificate, key *rsa.PrivateKey, audience string, edit func(header, claims map[string]any)) string {
	thumb := sha256.Sum256(c.Raw)
	header := map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(thumb[:])}
	now := time.Now()
	claims := map[string]any{"aud": audience, "iss": testClient, "sub": testClient, "jti": rand.Text(), "nbf": now.Unix(), "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	if edit != nil {
		edit(header, claims)
	}
	signed := base64.RawURLEncoding.EncodeToString(must(json.Marshal(header))) + "." + base64.RawURLEncoding.EncodeToString(must(json.Marshal(claims)))
	digest := sha256.Sum256([]byte(signed))
	var signature []byte
	if header["alg"] == "RS256" {
		signature = must(rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:]))
	} else {
		signature = must(rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestTokenRefusals(t *testing.T) {
	cert, key := clientCertificate()
	c := start(t, 2, func(o *Options) { o.ClientCertificates = []*x509.Certificate{cert} })
	stranger, strangerKey := certificate()
	endpoint := c.LoginURL() + "/" + c.TenantID() + "/oauth2/v2.0/token"
	secret := func(edit func(url.Values)) url.Values {
		f := url.Values{"client_id": {testClient}, "client_secret": {testSecret}, "grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"}}
		edit(f)
		return f
	}
	assertion := func(text string) url.Values {
		return secret(func(f url.Values) {
			f.Del("client_secret")
			f.Set("client_assertion_type", assertionType)
			f.Set("client_assertion", text)
		})
	}
	spoilt := func(edit func(h, c map[string]any)) url.Values {
		return assertion(signAssertion(cert, key, endpoint, edit))
	}
	tests := []struct {
		name   string
		form   url.Values
		status int
		code   string
		number int
	}{
		{"right secret", secret(func(url.Values) {}), 200, "", 0},
		{"scopes that client libraries add", secret(func(f url.Values) {
			f.Add("scope", "")
			f.Set("scope", "https://graph.microsoft.com/.default openid offline_access profile")
		}), 200, "", 0},
		{"wrong secret", secret(func(f url.Values) { f.Set("client_secret", "id-of-the-secret") }), 401, "invalid_client", 7000215},
		{"no credential", secret(func(f url.Values) { f.Del("client_secret") }), 401, "invalid_client", 7000218},
		{"unknown application", secret(func(f url.Values) { f.Set("client_id", "99999999-0000-4000-8000-000000000000") }), 400, "unauthorized_client", 700016},
		{"no application", secret(func(f url.Values) { f.Del("client_id") }), 400, "invalid_request", 900144},
		{"no scope", secret(func(f url.Values) { f.Del("scope") }), 400, "invalid_request", 900144},
		{"scope without .default", secret(func(f url.Values) { f.Set("scope", "https://graph.microsoft.com/Mail.Read") }), 400, "invalid_scope", 1002012},
		{"two resources", secret(func(f url.Values) { f.Set("scope", "https://a.example/.default https://b.example/.default") }), 400, "invalid_scope", 70011},
		{"other grant", secret(func(f url.Values) { f.Set("grant_type", "password") }), 400, "unsupported_grant_type", 70003},

		{"assertion PS256", spoilt(nil), 200, "", 0},
		{"assertion RS256 with SHA-1 thumbprint", spoilt(func(h, _ map[string]any) {
			sum := sha1.Sum(cert.Raw)
			delete(h, "x5t#S256")
			h["alg"], h["x5t"] = "RS256", base64.RawURLEncoding.EncodeToString(sum[:])
		}), 200, "", 0},
		{"assertion by a stranger", assertion(signAssertion(stranger, strangerKey, endpoint, nil)), 401, "invalid_client", 700027},
		{"assertion with a stranger's key under our name", assertion(signAssertion(cert, strangerKey, endpoint, nil)), 401, "invalid_client", 700027},
		{"assertion without algorithm", spoilt(func(h, _ map[string]any) { h["alg"] = "none" }), 401, "invalid_client", 700027},
		{"assertion that is over", spoilt(func(_, c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() }), 401, "invalid_client", 700024},
		{"assertion of tomorrow", spoilt(func(_, c map[string]any) { c["nbf"] = time.Now().Add(time.Hour).Unix() }), 401, "invalid_client", 700024},
		{"assertion for somebody else", spoilt(func(_, c map[string]any) { c["aud"] = "https://login.example/token" }), 401, "invalid_client", 700023},
		{"assertion of another application", spoilt(func(_, c map[string]any) { c["iss"] = "other" }), 401, "invalid_client", 700021},
		{"no assertion at all", assertion("a.b"), 401, "invalid_client", 50027},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := (&tester{T: t, Server: c.Server, http: c.http}).login(tt.form)
			code, _ := a.json["error"].(string)
			if a.status != tt.status || code != tt.code {
				t.Fatalf("got %d %q, want %d %q: %s", a.status, code, tt.status, tt.code, a.body)
			}
			if tt.number == 0 {
				return
			}
			description, _ := a.json["error_description"].(string)
			if want := fmt.Sprintf("AADSTS%d:", tt.number); !strings.HasPrefix(description, want) {
				t.Errorf("the description %q does not begin with %s", description, want)
			}
			if numbers, _ := a.json["error_codes"].([]any); len(numbers) != 1 || numbers[0] != float64(tt.number) {
				t.Errorf("error_codes %v, want [%d]", numbers, tt.number)
			}
			if strings.Contains(string(a.body), testSecret) {
				t.Error("the secret stands in the answer")
			}
		})
	}
}

func TestTokenForUnknownTenant(t *testing.T) {
	c := start(t, 1)
	for tenant, status := range map[string]int{"acme.example": 200, "ACME.example": 200, c.TenantID(): 200, "other.example": 400} {
		form := url.Values{"grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"}}
		req := must(http.NewRequest(http.MethodPost, c.LoginURL()+"/"+tenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode())))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(url.QueryEscape(testClient), url.QueryEscape(testSecret))
		if a := c.do(req); a.status != status {
			t.Errorf("tenant %s: %d %s", tenant, a.status, a.body)
		}
	}
}

// The vendor's own client library must get a token, by secret and by certificate, without being told anything special.
func TestVendorsClientGetsToken(t *testing.T) {
	cert, key := clientCertificate()
	c := start(t, 1, func(o *Options) { o.ClientCertificates = []*x509.Certificate{cert} })
	options := azcore.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: c.LoginURL()}, Transport: c.http, Retry: policy.RetryOptions{MaxRetries: -1}}
	bySecret := must(azidentity.NewClientSecretCredential(c.TenantID(), testClient, testSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true}))
	byCertificate := must(azidentity.NewClientCertificateCredential(c.TenantID(), testClient, []*x509.Certificate{cert}, key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true}))
	for name, credential := range map[string]azcore.TokenCredential{"secret": bySecret, "certificate": byCertificate} {
		token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://graph.microsoft.com/.default"}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.token = token.Token
		c.want("/users?$top=1")
	}
}

func TestTokenCarriesRolesAndExpires(t *testing.T) {
	c := start(t, 2, func(o *Options) { o.Roles = []string{"User.Read.All", "Mail.Read"} })
	c.want("/users")
	payload := must(base64.RawURLEncoding.DecodeString(strings.Split(c.token, ".")[1]))
	var claims struct{ Roles []string }
	if err := json.Unmarshal(payload, &claims); err != nil || fmt.Sprint(claims.Roles) != "[User.Read.All Mail.Read]" {
		t.Fatalf("roles %v, %v", claims.Roles, err)
	}

	c.SetRoles("User.Read.All", "Mail.Read", "Files.Read.All")
	drive := "/users/" + c.opt.People[0].UPN + "/drive"
	if a := c.get(drive); a.status != 403 {
		t.Errorf("an old token gained a new permission: %d", a.status)
	}
	c.ExpireTokens()
	if a := c.get(drive); a.status != 401 || a.code() != "InvalidAuthenticationToken" {
		t.Errorf("an expired token: %d %s", a.status, a.body)
	}
	c.token = ""
	c.want(drive)
	c.RemoveRole("Files.Read.All")
	if a := c.get(drive); a.status != 403 {
		t.Errorf("a withdrawn permission still works: %d", a.status)
	}
}

func TestShortLivedToken(t *testing.T) {
	c := start(t, 1, func(o *Options) { o.TokenLife = time.Second })
	c.want("/users")
	time.Sleep(1100 * time.Millisecond)
	if a := c.get("/users"); a.status != 401 {
		t.Errorf("a token of one second after 1.1 s: %d", a.status)
	}
}

func TestForgedAccessToken(t *testing.T) {
	c := start(t, 1)
	c.want("/users")
	parts := strings.Split(c.token, ".")
	payload := must(base64.RawURLEncoding.DecodeString(parts[1]))
	forged := strings.Replace(string(payload), "User.Read.All", "User.Read.Any", 1)
	for name, token := range map[string]string{
		"empty": "", "other": "x.y.z", "payload changed": parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(forged)) + "." + parts[2],
		"no signature": parts[0] + "." + parts[1] + ".",
	} {
		req := must(http.NewRequest(http.MethodGet, c.GraphURL()+"/users", nil))
		req.Header.Set("Authorization", "Bearer "+token)
		if a := c.do(req); a.status != 401 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}
