package msgraph

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azpolicy "github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

const (
	// renewBefore is how long before its end a token is replaced.
	renewBefore = 5 * time.Minute
	// signInLimit bounds one conversation with the token endpoint.
	signInLimit = 30 * time.Second
)

// tokens holds the one token of an app. Whoever needs a new one while another caller fetches it waits for that one, as long
// as its own context lasts. A failure is not repeated here: the request that needs the token is.
type tokens struct {
	signIn signIn
	scope  string

	turn    chan struct{} // holds one value; taking it is the right to touch what follows
	cred    azcore.TokenCredential
	current azcore.AccessToken
}

func newTokens(s signIn, scope string) *tokens {
	t := &tokens{signIn: s, scope: scope, turn: make(chan struct{}, 1)}
	t.turn <- struct{}{}
	return t
}

// get returns the token, fetching it when there is none or its end is near.
func (t *tokens) get(ctx context.Context) (string, error) {
	return t.take(ctx, func() bool { return time.Now().Before(t.current.ExpiresOn.Add(-renewBefore)) }, "")
}

// renew replaces a token that Graph refused, unless another caller has done so already. claims is the decoded challenge of a
// continuous access evaluation, or empty.
func (t *tokens) renew(ctx context.Context, refused, claims string) (string, error) {
	return t.take(ctx, func() bool { return t.current.Token != "" && t.current.Token != refused }, claims)
}

// fresh fetches a new token whatever there is: a consent shows only in tokens that are issued after it.
func (t *tokens) fresh(ctx context.Context) (string, error) {
	return t.take(ctx, func() bool { return false }, "")
}

// drop forgets a token that lacks a permission, so that the next call gets one that shows what was consented to meanwhile. When
// somebody has the turn, a new one is being fetched anyway.
func (t *tokens) drop(token string) {
	select {
	case <-t.turn:
		if t.current.Token == token {
			t.current = azcore.AccessToken{}
		}
		t.turn <- struct{}{}
	default:
	}
}

// take returns the current token if it is good, and fetches one otherwise. The credential has a cache of its own: to get past it
// without claims takes a new credential.
func (t *tokens) take(ctx context.Context, good func() bool, claims string) (string, error) {
	select {
	case <-t.turn:
		defer func() { t.turn <- struct{}{} }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if good() {
		return t.current.Token, nil
	}
	if t.cred == nil || claims == "" {
		cred, err := t.signIn.credential()
		if err != nil {
			return "", err
		}
		t.cred = cred
	}
	token, err := t.request(ctx, claims)
	if err != nil {
		return "", err
	}
	t.current = token
	return token.Token, nil
}

// request has one conversation with the token endpoint.
func (t *tokens) request(ctx context.Context, claims string) (azcore.AccessToken, error) {
	limited, cancel := context.WithTimeout(ctx, signInLimit)
	defer cancel()
	heard := &conversation{}
	token, err := t.cred.GetToken(context.WithValue(limited, conversationKey{}, heard),
		azpolicy.TokenRequestOptions{Scopes: []string{t.scope}, EnableCAE: true, Claims: claims})
	if err != nil {
		return azcore.AccessToken{}, t.signIn.classify(ctx, heard, err)
	}
	return token, nil
}

// claimsOf reads the claims challenge of a 401 (WWW-Authenticate: Bearer … claims="base64"), or returns an empty string. See
// https://learn.microsoft.com/entra/identity-platform/claims-challenge.
func claimsOf(challenge string) string {
	_, rest, ok := strings.Cut(challenge, `claims="`)
	if !ok || len(rest) > 16<<10 {
		return ""
	}
	encoded, _, ok := strings.Cut(rest, `"`)
	if !ok {
		return ""
	}
	encoded = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(encoded, "="))
	claims, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || !json.Valid(claims) {
		return ""
	}
	return string(claims)
}

// Roles are the application permissions a token states. Known is false when the token does not show them, which it need not: its
// inside is Microsoft's business, so roles serve to explain a refusal, never to foresee one.
type Roles struct {
	Known   bool
	granted []string
}

// RolesOf reads the payload of a JWT without verifying it; that is the resource's business.
func RolesOf(token string) Roles {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Roles{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return Roles{}
	}
	var claims struct {
		Roles []string `json:"roles"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return Roles{}
	}
	return Roles{Known: true, granted: claims.Roles}
}

// Any tells whether one of the permissions was granted, whatever its case.
func (r Roles) Any(permissions ...string) bool {
	return slices.ContainsFunc(r.granted, func(g string) bool {
		return slices.ContainsFunc(permissions, func(p string) bool { return strings.EqualFold(g, p) })
	})
}
