package connector

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"time"
)

// Paths of the gateway, all POST with a JSON body.
const (
	PathPrefix = "/connector/v1/"
	helloPath  = PathPrefix + "hello"
	pollPath   = PathPrefix + "poll"
	answerPath = PathPrefix + "answer"
	byePath    = PathPrefix + "bye"
)

// Headers that sign a call.
const (
	headerTenant    = "Holdfast-Tenant"
	headerConnector = "Holdfast-Connector"
	headerTime      = "Holdfast-Time"      // Unix milliseconds
	headerNonce     = "Holdfast-Nonce"     // 32 lower-case hex digits
	headerSignature = "Holdfast-Signature" // unpadded base64url
)

// callWindow is how far a call's time may be from the gateway's clock, either way.
const callWindow = 60 * time.Second

// call is what a connector signs of each HTTP call, so that it can be neither altered, sent again nor sent elsewhere.
type call struct {
	Method, Path      string
	Tenant, Connector string
	At                int64 // Unix milliseconds
	Nonce             string
	Body              [sha256.Size]byte
	Signature         []byte
}

func (c call) statement() statement {
	return newStatement(callDomain).
		text(c.Method).
		text(c.Path).
		text(c.Tenant).
		text(c.Connector).
		number(c.At).
		text(c.Nonce).
		bytes(c.Body[:])
}

// signCall puts the signature's headers on a request that carries body.
func signCall(r *http.Request, body []byte, k *KeyFile, now time.Time) {
	c := call{Method: r.Method, Path: r.URL.Path, Tenant: k.Tenant, Connector: k.Connector, At: now.UnixMilli(), Nonce: newNonce(), Body: sha256.Sum256(body)}
	r.Header.Set(headerTenant, c.Tenant)
	r.Header.Set(headerConnector, c.Connector)
	r.Header.Set(headerTime, strconv.FormatInt(c.At, 10))
	r.Header.Set(headerNonce, c.Nonce)
	r.Header.Set(headerSignature, base64.RawURLEncoding.EncodeToString(k.identity.sign(c.statement())))
}

// parseCall reads what a request claims of itself. The path is the one that the client sent and no query belongs to it.
func parseCall(r *http.Request, body []byte) (call, error) {
	at, err := strconv.ParseInt(r.Header.Get(headerTime), 10, 64)
	if err != nil {
		return call{}, errMalformed
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(r.Header.Get(headerSignature))
	if err != nil || len(signature) != signatureSize {
		return call{}, errMalformed
	}
	c := call{
		Method: r.Method, Path: r.URL.Path, Tenant: r.Header.Get(headerTenant), Connector: r.Header.Get(headerConnector),
		At: at, Nonce: r.Header.Get(headerNonce), Body: sha256.Sum256(body), Signature: signature,
	}
	if !tenantName.MatchString(c.Tenant) || !connectorName.MatchString(c.Connector) || !nonceText.MatchString(c.Nonce) || r.URL.RawQuery != "" {
		return call{}, errMalformed
	}
	return c, nil
}

// inWindow tells whether the call was signed about now.
func (c call) inWindow(now time.Time) bool {
	return time.UnixMilli(c.At).Sub(now).Abs() <= callWindow
}

// remembered is until when the call's nonce must not be forgotten.
func (c call) remembered() time.Time { return time.UnixMilli(c.At).Add(callWindow + time.Second) }
