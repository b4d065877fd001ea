package graph

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha1" // the x5t thumbprint of older applications is SHA-1 by definition (RFC 7515, section 4.1.7)
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// maxAssertion bounds a client assertion in bytes; maxAssertionLife is how long one may be valid.
const (
	maxAssertion     = 16 << 10
	maxAssertionLife = 24 * time.Hour
)

// assertion is a client assertion (RFC 7523) taken apart.
type assertion struct {
	Header struct {
		Algorithm string `json:"alg"`
		Type      string `json:"typ"`
		Thumb256  string `json:"x5t#S256"`
		ThumbSHA1 string `json:"x5t"`
		Critical  []any  `json:"crit"`
	}
	Claims struct {
		Audience  string  `json:"aud"`
		Issuer    string  `json:"iss"`
		Subject   string  `json:"sub"`
		ID        string  `json:"jti"`
		Expires   float64 `json:"exp"`
		NotBefore float64 `json:"nbf"`
	}
	signed    []byte
	signature []byte
}

// parseAssertion takes a compact JWS apart without judging it.
func parseAssertion(text string) (a assertion, ok bool) {
	parts := strings.Split(text, ".")
	if len(text) > maxAssertion || len(parts) != 3 {
		return a, false
	}
	raw := make([][]byte, 3)
	for i, p := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			return a, false
		}
	}
	if json.Unmarshal(raw[0], &a.Header) != nil || json.Unmarshal(raw[1], &a.Claims) != nil || a.Header.Critical != nil {
		return a, false
	}
	a.signed, a.signature = []byte(parts[0]+"."+parts[1]), raw[2]
	return a, true
}

// checkAssertion wants a signature by a registered certificate, this endpoint as audience, the application as issuer and
// subject, and a time that is now.
func (s *Server) checkAssertion(kind, text, tenant string, now time.Time) *aadError {
	a, ok := parseAssertion(text)
	if kind != assertionType || !ok {
		return &aadError{401, "invalid_client", 50027, "JWT token is invalid or malformed."}
	}
	cert := s.registered(a)
	if cert == nil || !a.signedBy(cert) {
		return &aadError{401, "invalid_client", 700027, "The certificate with identifier used to sign the client assertion is not registered on application. Client assertion failed signature validation."}
	}
	expires, notBefore := time.Unix(int64(a.Claims.Expires), 0), time.Unix(int64(a.Claims.NotBefore), 0)
	switch {
	case now.After(expires) || now.Before(notBefore.Add(-5*time.Minute)) || expires.Sub(now) > maxAssertionLife:
		return &aadError{401, "invalid_client", 700024, fmt.Sprintf("Client assertion is not within its valid time range. Current time: %s, expiry time of assertion %s.", now.UTC().Format(time.RFC3339), expires.UTC().Format(time.RFC3339))}
	case !s.isTokenEndpoint(a.Claims.Audience, tenant):
		return &aadError{401, "invalid_client", 700023, "Client assertion audience claim does not match Realm issuer."}
	case !strings.EqualFold(a.Claims.Issuer, s.opt.ClientID) || !strings.EqualFold(a.Claims.Subject, s.opt.ClientID):
		return &aadError{401, "invalid_client", 700021, "Client assertion application identifier doesn't match 'client_id' parameter."}
	case now.After(cert.NotAfter):
		return &aadError{401, "invalid_client", 7000222, "The provided client certificate is expired."}
	}
	return nil
}

// registered finds the certificate that the header names by its thumbprint.
func (s *Server) registered(a assertion) *x509.Certificate {
	i := slices.IndexFunc(s.opt.ClientCertificates, func(c *x509.Certificate) bool {
		long, short := sha256.Sum256(c.Raw), sha1.Sum(c.Raw)
		if a.Header.Thumb256 != "" {
			return sameThumb(a.Header.Thumb256, long[:])
		}
		return sameThumb(a.Header.ThumbSHA1, short[:])
	})
	if i < 0 {
		return nil
	}
	return s.opt.ClientCertificates[i]
}

// sameThumb compares a thumbprint in base64url, or in the standard alphabet that the vendor's own libraries write.
func sameThumb(text string, sum []byte) bool {
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	b, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && bytes.Equal(b, sum)
}

// signedBy verifies PS256 or RS256; nothing else is taken, least of all "none".
func (a assertion) signedBy(c *x509.Certificate) bool {
	key, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok {
		return false
	}
	digest := sha256.Sum256(a.signed)
	switch a.Header.Algorithm {
	case "PS256":
		return rsa.VerifyPSS(key, crypto.SHA256, digest[:], a.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	case "RS256":
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], a.signature) == nil
	}
	return false
}

// isTokenEndpoint tells whether an audience is this tenant's token endpoint, whichever of its names stands in it.
func (s *Server) isTokenEndpoint(audience, tenant string) bool {
	base, path, ok := strings.Cut(strings.TrimPrefix(audience, s.graphURL+"/"), "/")
	return ok && strings.HasPrefix(audience, s.graphURL+"/") && (strings.EqualFold(base, tenant) || s.knowsTenant(base)) &&
		(path == "oauth2/v2.0/token" || path == "v2.0")
}

// unescapeForm undoes the form-encoding that RFC 6749 (section 2.3.1) asks for in HTTP Basic.
func unescapeForm(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}
