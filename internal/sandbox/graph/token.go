package graph

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// tokenState is what may change about access tokens while the server runs.
type tokenState struct {
	mu    sync.Mutex
	roles []string
	// generation counts ExpireTokens: older tokens are refused as if their time were over.
	generation int
}

func (t *tokenState) current() ([]string, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.roles, t.generation
}

// SetRoles replaces the consented permissions. As with the real service a new permission shows in tokens issued from
// now on only; a withdrawn one stops working at once.
func (s *Server) SetRoles(roles ...string) {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	s.tokens.roles = slices.Clone(roles)
}

// RemoveRole withdraws one permission.
func (s *Server) RemoveRole(role string) {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	s.tokens.roles = slices.DeleteFunc(slices.Clone(s.tokens.roles), func(r string) bool { return r == role })
}

// Roles are the permissions consented to.
func (s *Server) Roles() []string {
	roles, _ := s.tokens.current()
	return slices.Clone(roles)
}

// ExpireTokens makes every access token issued so far expire now.
func (s *Server) ExpireTokens() {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	s.tokens.generation++
}

// accessClaims is the payload of an access token. Clients must treat it as opaque; Roles is what they may show a person.
type accessClaims struct {
	Audience   string   `json:"aud"`
	Issuer     string   `json:"iss"`
	IssuedAt   int64    `json:"iat"`
	NotBefore  int64    `json:"nbf"`
	Expires    int64    `json:"exp"`
	AppID      string   `json:"appid"`
	IDType     string   `json:"idtyp"`
	ObjectID   string   `json:"oid"`
	Subject    string   `json:"sub"`
	Tenant     string   `json:"tid"`
	Roles      []string `json:"roles,omitempty"`
	Version    string   `json:"ver"`
	UniqueID   string   `json:"uti"`
	Generation int      `json:"xms_sandbox_generation"`
}

// issue makes an access token (JWT signed with ES256).
func (s *Server) issue(now time.Time) string {
	roles, generation := s.tokens.current()
	object := guid(s.opt.Seed, "service principal")
	claims := accessClaims{
		Audience: "https://graph.microsoft.com", Issuer: "https://sts.windows.net/" + s.opt.TenantID + "/",
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(s.opt.TokenLife).Unix(),
		AppID: s.opt.ClientID, IDType: "app", ObjectID: object, Subject: object, Tenant: s.opt.TenantID,
		Roles: roles, Version: "1.0", UniqueID: rand.Text(), Generation: generation,
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(fmt.Sprintf("claims are plain data: %v", err))
	}
	coding := base64.RawURLEncoding
	signed := coding.EncodeToString([]byte(`{"typ":"JWT","alg":"ES256","kid":"sandbox"}`)) + "." + coding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(signed))
	r, t, err := ecdsa.Sign(rand.Reader, s.signer, digest[:])
	if err != nil {
		panic(fmt.Sprintf("signing with a fresh key: %v", err))
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	t.FillBytes(signature[32:])
	return signed + "." + coding.EncodeToString(signature)
}

// maxToken bounds an access token in bytes.
const maxToken = 16 << 10

// readAccessToken checks signature, time and generation. The roles are those of the token that are still consented to.
func (s *Server) readAccessToken(token string, now time.Time) (accessClaims, bool) {
	coding := base64.RawURLEncoding
	head, rest, _ := strings.Cut(token, ".")
	body, tail, _ := strings.Cut(rest, ".")
	signature, err := coding.DecodeString(tail)
	if len(token) > maxToken || err != nil || len(signature) != 64 {
		return accessClaims{}, false
	}
	digest := sha256.Sum256([]byte(head + "." + body))
	r, t := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(&s.signer.PublicKey, digest[:], r, t) {
		return accessClaims{}, false
	}
	payload, err := coding.DecodeString(body)
	var c accessClaims
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return accessClaims{}, false
	}
	roles, generation := s.tokens.current()
	c.Roles = slices.DeleteFunc(c.Roles, func(role string) bool { return !slices.Contains(roles, role) })
	return c, now.Unix() < c.Expires && c.Generation == generation
}

// aadError is an error of the token endpoint. Number goes into the description as AADSTSnnnnn and into error_codes.
type aadError struct {
	Status int
	Code   string // OAuth error
	Number int
	Text   string
}

func (e *aadError) Error() string { return fmt.Sprintf("AADSTS%d: %s", e.Number, e.Text) }

// maxForm bounds the token request's body in bytes.
const maxForm = 64 << 10

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	s.calls.add(CallToken)
	s.delay(r, CallToken, "")
	if f, hit := s.faults.strike(CallToken, "", FaultThrottle, FaultUnavailable); hit {
		w.Header().Set("Retry-After", fmt.Sprint(f.RetryAfter))
		s.writeAADError(w, r, &aadError{f.status(), "temporarily_unavailable", 50196, "The server terminated an operation because it encountered a client request loop."})
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		s.writeAADError(w, r, &aadError{http.StatusBadRequest, "invalid_request", 900144, "The request body cannot be read."})
		return
	}
	if e := s.checkTokenRequest(r); e != nil {
		s.writeAADError(w, r, e)
		return
	}
	life := int(s.opt.TokenLife.Seconds())
	w.Header().Set("Cache-Control", "no-store, no-cache")
	writeJSON(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": s.issue(time.Now())})
}

// checkTokenRequest follows the order in which the real endpoint complains: tenant, grant, scope, application, credential.
func (s *Server) checkTokenRequest(r *http.Request) *aadError {
	form := r.PostForm
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		id, secret = unescapeForm(user), unescapeForm(password)
	}
	switch {
	case !s.knowsTenant(r.PathValue("tenant")):
		return &aadError{400, "invalid_request", 90002, fmt.Sprintf("Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", r.PathValue("tenant"))}
	case form.Get("grant_type") == "":
		return &aadError{400, "invalid_request", 900144, "The request body must contain the following parameter: 'grant_type'."}
	case form.Get("grant_type") != "client_credentials":
		return &aadError{400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type."}
	}
	if e := checkScope(form.Get("scope")); e != nil {
		return e
	}
	switch {
	case id == "":
		return &aadError{400, "invalid_request", 900144, "The request body must contain the following parameter: 'client_id'."}
	case !strings.EqualFold(id, s.opt.ClientID):
		return &aadError{400, "unauthorized_client", 700016, fmt.Sprintf("Application with identifier '%s' was not found in the directory. This can happen if the application has not been installed by the administrator of the tenant.", id)}
	case form.Get("client_assertion") != "":
		return s.checkAssertion(form.Get("client_assertion_type"), form.Get("client_assertion"), r.PathValue("tenant"), time.Now())
	case secret == "":
		return &aadError{401, "invalid_client", 7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."}
	case s.opt.ClientSecret == "" || subtle.ConstantTimeCompare([]byte(secret), []byte(s.opt.ClientSecret)) != 1:
		return &aadError{401, "invalid_client", 7000215, fmt.Sprintf("Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", id)}
	}
	return nil
}

func (s *Server) knowsTenant(name string) bool {
	return strings.EqualFold(name, s.opt.TenantID) || strings.EqualFold(name, s.opt.Domain)
}

// checkScope wants exactly one "<resource>/.default". Client libraries add the OpenID scopes, which mean nothing here.
func checkScope(scope string) *aadError {
	scopes := slices.DeleteFunc(strings.Fields(scope), func(s string) bool {
		return s == "openid" || s == "profile" || s == "offline_access"
	})
	switch {
	case len(scopes) == 0:
		return &aadError{400, "invalid_request", 900144, "The request body must contain the following parameter: 'scope'."}
	case len(scopes) > 1:
		return &aadError{400, "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid: it spans several resources."}
	case !strings.HasSuffix(scopes[0], "/.default"):
		return &aadError{400, "invalid_scope", 1002012, fmt.Sprintf("The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier.", scopes[0])}
	}
	return nil
}

func (s *Server) writeAADError(w http.ResponseWriter, r *http.Request, e *aadError) {
	now, trace := time.Now().UTC(), newGUID()
	correlation := r.Header.Get("client-request-id")
	if correlation == "" {
		correlation = newGUID()
	}
	stamp := now.Format("2006-01-02 15:04:05Z")
	writeJSON(w, e.Status, map[string]any{
		"error":             e.Code,
		"error_description": fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", e.Error(), trace, correlation, stamp),
		"error_codes":       []int{e.Number}, "timestamp": stamp, "trace_id": trace, "correlation_id": correlation,
		"error_uri": fmt.Sprintf("%s/error?code=%d", s.graphURL, e.Number),
	})
}

// serveDiscovery is the tenant's OpenID Connect metadata, as far as token clients read it.
func (s *Server) serveDiscovery(w http.ResponseWriter, r *http.Request) {
	tenant := r.PathValue("tenant")
	if !s.knowsTenant(tenant) {
		s.writeAADError(w, r, &aadError{400, "invalid_tenant", 90002, fmt.Sprintf("Tenant '%s' not found.", tenant)})
		return
	}
	base := s.graphURL + "/" + tenant
	writeJSON(w, http.StatusOK, map[string]any{
		"token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize",
		"issuer": s.graphURL + "/" + s.opt.TenantID + "/v2.0", "jwks_uri": base + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_types_supported":              []string{"code", "id_token"}, "subject_types_supported": []string{"pairwise"},
	})
}

// serveInstances answers which hosts belong to this cloud: this one.
func (s *Server) serveInstances(w http.ResponseWriter, _ *http.Request) {
	host := s.graphURL[strings.Index(s.graphURL, "//")+2:]
	writeJSON(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": s.graphURL + "/" + s.opt.TenantID + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []any{map[string]any{"preferred_network": host, "preferred_cache": host, "aliases": []string{host}}},
	})
}
