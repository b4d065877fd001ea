package backup

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// Limits of an enrolment token.
const (
	// MaxEnrolmentToken is the longest text of a token, in bytes; a usual one has about 900.
	MaxEnrolmentToken = 32 << 10
	// EnrolmentSecretSize is the size of its secret in bytes.
	EnrolmentSecretSize = 32

	maxTokenWorkers = 64
	maxTokenCAs     = 8
	maxTokenGateway = 512 // bytes of URL
)

const (
	tokenPrefix   = "hfenroll1."
	tokenChecksum = 8 // bytes of SHA-256
)

// EnrolmentToken is everything that a new connector needs to be told, and the secret that admits it once. Whoever has its text can
// enrol in the connector's place until it is used or expires, so that it is carried like a password.
type EnrolmentToken struct {
	Tenant    string
	Connector string
	// Gateway is https://host[:port]; GatewayCA the PEM certificates that its certificate must come from.
	Gateway   string
	GatewayCA []byte
	// Workers are the public identities of the workers that may ask the connector.
	Workers []string
	// Expires is when the token stops being good, in whole seconds.
	Expires time.Time

	secret [EnrolmentSecretSize]byte
}

// NewEnrolmentToken gives what t says a fresh secret. It refuses what a connector could not use (CodeBadConfig).
func NewEnrolmentToken(t EnrolmentToken) (EnrolmentToken, error) {
	t.Expires = t.Expires.Truncate(time.Second).UTC()
	if err := t.check(); err != nil {
		return EnrolmentToken{}, badToken("the enrolment token cannot be made: "+err.Error(), "look at what it was to be made from")
	}
	rand.Read(t.secret[:])
	if len(t.Text()) > MaxEnrolmentToken {
		return EnrolmentToken{}, badToken("the enrolment token would be too large", "give the certificate of the gateway's own authority alone")
	}
	return t, nil
}

// Secret is what the connector shows to the gateway. The caller wipes it.
func (t EnrolmentToken) Secret() []byte { return bytes.Clone(t.secret[:]) }

// Hash is the SHA-256 of the secret: what the store and the workflow may know.
func (t EnrolmentToken) Hash() []byte { return EnrolmentHash(t.secret[:]) }

// EnrolmentHash is how the store knows an enrolment by its secret.
func EnrolmentHash(secret []byte) []byte {
	sum := sha256.Sum256(secret)
	return sum[:]
}

func (t EnrolmentToken) String() string {
	return fmt.Sprintf("enrolment token for connector %q of tenant %q, good until %s", t.Connector, t.Tenant, t.Expires.Format(time.RFC3339))
}

// Format keeps every verb of package fmt from printing the secret.
func (t EnrolmentToken) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, t.String()) }

// Text is the token as a person copies it: the prefix "hfenroll1.", then unpadded base64url of the fields and the first 8 bytes of their
// SHA-256. The fields, each preceded by its length as 2 bytes, most significant first: secret, expiry (Unix seconds, 8 bytes), tenant,
// connector, gateway, the number of workers (1 byte) and each, the number of certificates (1 byte) and each in DER.
func (t EnrolmentToken) Text() string {
	w := tokenWriter{}
	w.field(t.secret[:])
	w.field(binary.BigEndian.AppendUint64(nil, uint64(t.Expires.Unix())))
	for _, text := range []string{t.Tenant, t.Connector, t.Gateway} {
		w.field([]byte(text))
	}
	w.field([]byte{byte(len(t.Workers))})
	for _, worker := range t.Workers {
		w.field([]byte(worker))
	}
	certificates := pemToDER(t.GatewayCA)
	w.field([]byte{byte(len(certificates))})
	for _, der := range certificates {
		w.field(der)
	}
	sum := sha256.Sum256(w.b)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(w.b, sum[:tokenChecksum]...))
}

// ParseEnrolmentToken reads a token's text; white space in it, as a terminal or a mail puts there, does not matter. Its errors
// (CodeBadConfig) tell a torn paste from something else, and never quote the text.
func ParseEnrolmentToken(text string) (EnrolmentToken, error) {
	if len(text) > MaxEnrolmentToken+MaxEnrolmentToken/8 {
		return EnrolmentToken{}, badToken("this is too long for an enrolment token", "give the token's text and nothing else")
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
	text, ours := strings.CutPrefix(text, tokenPrefix)
	if !ours {
		return EnrolmentToken{}, badToken("this is not an enrolment token", "it begins with "+tokenPrefix+" and is printed by `holdfast connector enroll`")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) <= tokenChecksum {
		return EnrolmentToken{}, errTornToken
	}
	body, sum := b[:len(b)-tokenChecksum], b[len(b)-tokenChecksum:]
	if want := sha256.Sum256(body); !bytes.Equal(sum, want[:tokenChecksum]) {
		return EnrolmentToken{}, errTornToken
	}
	t, err := parseTokenBody(body)
	if err != nil {
		return EnrolmentToken{}, badToken("the enrolment token does not hold what it should: "+err.Error(), "use programs of one version, and a new token")
	}
	return t, nil
}

func parseTokenBody(body []byte) (EnrolmentToken, error) {
	r := tokenReader{rest: body}
	var t EnrolmentToken
	secret, expires := r.field(), r.field()
	if len(secret) != len(t.secret) || len(expires) != 8 {
		return EnrolmentToken{}, errors.New("its secret or its expiry has a wrong length")
	}
	copy(t.secret[:], secret)
	t.Expires = time.Unix(int64(binary.BigEndian.Uint64(expires)), 0).UTC()
	t.Tenant, t.Connector, t.Gateway = string(r.field()), string(r.field()), string(r.field())
	for range r.count(maxTokenWorkers) {
		t.Workers = append(t.Workers, string(r.field()))
	}
	for range r.count(maxTokenCAs) {
		t.GatewayCA = append(t.GatewayCA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.field()})...)
	}
	if r.torn || len(r.rest) > 0 {
		return EnrolmentToken{}, errors.New("its fields do not fit")
	}
	return t, t.check()
}

var (
	tokenTenant    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,40}$`)
	tokenConnector = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	tokenWorker    = regexp.MustCompile(`^ed25519:[A-Za-z0-9_-]{43}$`)
	latestExpiry   = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) // what JSON and people can write
)

func (t EnrolmentToken) check() error {
	switch {
	case !tokenTenant.MatchString(t.Tenant):
		return errors.New("the tenant's id is not good")
	case !tokenConnector.MatchString(t.Connector):
		return errors.New("the connector's name is not good: letters, digits, dots, dashes, at most 63")
	case t.Expires.Unix() <= 0 || t.Expires.After(latestExpiry):
		return errors.New("it has no expiry")
	case len(t.Workers) == 0 || len(t.Workers) > maxTokenWorkers:
		return fmt.Errorf("between 1 and %d worker identities are needed", maxTokenWorkers)
	}
	for _, worker := range t.Workers {
		if !tokenWorker.MatchString(worker) {
			return errors.New(`a worker's identity is not "ed25519:" and 43 characters of base64url`)
		}
	}
	return errors.Join(checkTokenGateway(t.Gateway), checkTokenCAs(t.GatewayCA))
}

func checkTokenGateway(gateway string) error {
	u, err := url.Parse(gateway)
	if err != nil || len(gateway) > maxTokenGateway || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("the gateway is not https://host[:port]")
	}
	return nil
}

func checkTokenCAs(text []byte) error {
	certificates := pemToDER(text)
	if len(certificates) == 0 || len(certificates) > maxTokenCAs {
		return fmt.Errorf("between 1 and %d certificates of the gateway's authority are needed, in PEM", maxTokenCAs)
	}
	for _, der := range certificates {
		if _, err := x509.ParseCertificate(der); err != nil {
			return errors.New("a certificate of the gateway's authority cannot be read")
		}
	}
	return nil
}

// pemToDER gives the certificates among the blocks of a PEM file, one more than allowed at most.
func pemToDER(text []byte) (certificates [][]byte) {
	for len(certificates) <= maxTokenCAs {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			certificates = append(certificates, block.Bytes)
		}
	}
	return certificates
}

func badToken(message, hint string) error {
	return &Error{Code: CodeBadConfig, Fault: FaultCustomer, Message: message, Hint: hint}
}

var errTornToken = badToken("the enrolment token is not whole: a part of it is missing or was changed", "copy all of it again, or let a file carry it: --enroll @FILE")

// tokenWriter and tokenReader write and read fields that are preceded by their length.
type tokenWriter struct{ b []byte }

func (w *tokenWriter) field(b []byte) {
	w.b = append(binary.BigEndian.AppendUint16(w.b, uint16(len(b))), b...)
}

// tokenReader gives empty fields once something did not fit.
type tokenReader struct {
	rest []byte
	torn bool
}

func (r *tokenReader) field() []byte {
	if len(r.rest) < 2 {
		r.torn, r.rest = true, nil
		return nil
	}
	n := 2 + int(binary.BigEndian.Uint16(r.rest))
	if n > len(r.rest) {
		r.torn, r.rest = true, nil
		return nil
	}
	field := r.rest[2:n]
	r.rest = r.rest[n:]
	return field
}

func (r *tokenReader) count(most int) int {
	b := r.field()
	if len(b) != 1 || int(b[0]) > most {
		r.torn = true
		return 0
	}
	return int(b[0])
}
