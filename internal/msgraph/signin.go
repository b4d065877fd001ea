package msgraph

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	azpolicy "github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// signIn makes credentials and understands why one is refused.
type signIn struct {
	http      *http.Client
	login     string
	directory string // Entra tenant
	clientID  string
	secret    string // either this …
	certs     []*x509.Certificate
	key       crypto.PrivateKey // … or these two
}

// newSignIn reads the secret: the text of a client secret, or a PEM file of certificate and private key.
func newSignIn(l Login, login string, h *http.Client, secret []byte) (signIn, error) {
	s := signIn{http: h, login: login, directory: l.DirectoryTenant, clientID: l.ClientID}
	if l.Certificate == "" {
		s.secret = strings.TrimSpace(string(secret))
		if s.secret == "" {
			return signIn{}, BadConfig("clientSecret is empty", "store the secret's value where clientSecret points to")
		}
		return s, nil
	}
	certs, key, err := azidentity.ParseCertificates(secret, nil)
	if err != nil {
		// The parser's text may quote the file, so it is not repeated.
		return signIn{}, BadConfig("clientCertificate cannot be read", "it must be PEM: the certificate and its unencrypted private key (PKCS #8 or PKCS #1)")
	}
	s.certs, s.key = certs, key
	return s, nil
}

// credential makes a credential with an empty token cache. Retries are this package's business, so the library's are off; instance
// discovery is off because the authority is the description's choice, and asking another host about it would leak and could fail.
func (s signIn) credential() (azcore.TokenCredential, error) {
	options := azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: s.login},
		Transport: eavesdrop{s.http},
		Retry:     azpolicy.RetryOptions{MaxRetries: -1},
	}
	var cred azcore.TokenCredential
	var err error
	if s.secret != "" {
		cred, err = azidentity.NewClientSecretCredential(s.directory, s.clientID, s.secret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	} else {
		cred, err = azidentity.NewClientCertificateCredential(s.directory, s.clientID, s.certs, s.key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	}
	if err != nil {
		return nil, BadConfig("directoryTenant, clientID or the credential cannot be used", "directoryTenant is a GUID or a verified domain; a certificate needs an RSA key")
	}
	return cred, nil
}

// conversation is what was heard on the wire while a credential fetched a token: the library keeps the answer of a refusal but not
// the error of a failed connection.
type conversation struct{ failure error }

type conversationKey struct{}

// eavesdrop is the credential's transport.
type eavesdrop struct{ http *http.Client }

func (t eavesdrop) Do(r *http.Request) (*http.Response, error) {
	resp, err := t.http.Do(r)
	if heard, ok := r.Context().Value(conversationKey{}).(*conversation); ok {
		heard.failure = err
	}
	if resp != nil {
		resp.Body = limitedBody{io.LimitReader(resp.Body, signInBodyLimit), resp.Body}
	}
	return resp, err
}

// signInBodyLimit bounds an answer of the token endpoint, in bytes.
const signInBodyLimit = 1 << 20

type limitedBody struct {
	io.Reader
	io.Closer
}

// classify says why no token was to be had. The library's own text is never repeated: it may quote the whole answer.
func (s signIn) classify(ctx context.Context, heard *conversation, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var failed *azidentity.AuthenticationFailedError
	switch {
	case heard.failure != nil:
		return unreachable(ctx, PlaceOf(s.login), heard.failure)
	case errors.As(err, &failed) && failed.RawResponse != nil:
		return s.readSignInRefusal(failed.RawResponse)
	case errors.Is(err, context.DeadlineExceeded):
		return unreachable(ctx, PlaceOf(s.login), context.DeadlineExceeded)
	}
	return BadResponse("the sign-in service gave an answer that cannot be read", nil)
}

// signInRefusal is the body of a refused token request (RFC 6749, section 5.2, with Entra's additions).
type signInRefusal struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Codes       []int  `json:"error_codes"`
	TraceID     string `json:"trace_id"`
}

func (s signIn) readSignInRefusal(resp *http.Response) error {
	var body signInRefusal
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, errorBodyLimit))
	if json.Unmarshal(raw, &body) != nil {
		body = signInRefusal{}
	}
	e := judgeSignIn(resp.StatusCode, body)
	e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	if e.RetryAfter > 0 && e.Retryable {
		e.Code = backup.CodeThrottled
	}
	e.Message += s.detail(resp.StatusCode, body)
	return e
}

// detail is what an administrator quotes to Microsoft: numbers and the first sentence, from which the secret is cut should the
// service ever repeat it.
func (s signIn) detail(status int, r signInRefusal) string {
	text := fmt.Sprintf(" (%d %s", status, Plain(r.Error, 60))
	for _, c := range r.Codes[:min(len(r.Codes), 3)] {
		text += fmt.Sprintf(", AADSTS%d", c)
	}
	if r.TraceID != "" {
		text += ", trace " + Plain(r.TraceID, 64)
	}
	first, _, _ := strings.Cut(r.Description, "Trace ID")
	if s.secret != "" {
		first = strings.ReplaceAll(first, s.secret, "[secret]")
	}
	if first = Plain(first, 200); first != "" {
		text += ", “" + first + "”"
	}
	return text + ")"
}

// signInFault is what one of Entra's numbers means to the administrator.
type signInFault struct {
	code          backup.Code
	message, hint string
}

// signInFaults explains Entra's numbers (https://learn.microsoft.com/entra/identity-platform/reference-error-codes). Microsoft
// may change them, so they choose the words only where the standard error name leaves room.
var signInFaults = map[int]signInFault{
	7000215: {backup.CodeBadCredential, "the client secret is wrong", "store the secret's Value, not its Secret ID, where clientSecret points to"},
	7000222: {backup.CodeBadCredential, "the client secret has expired", "make a new client secret in the app registration and store its value where clientSecret points to"},
	700027:  {backup.CodeBadCredential, "the client certificate is not registered for this app", "upload the certificate's public part in the app registration, or point clientCertificate to the registered one"},
	700024:  {backup.CodeBadCredential, "the signed sign-in request is outside its validity", "check the worker's clock"},
	7000112: {backup.CodeBadCredential, "the app is disabled", "enable it under Enterprise applications in the Entra admin center"},
	700016:  {backup.CodeBadConfig, "the app is not known in this Entra tenant", "check clientID and directoryTenant; an app of another organisation must be consented here first"},
	7000229: {backup.CodeBadConfig, "the app has no service principal in this Entra tenant", "give admin consent once, which creates it"},
	90002:   {backup.CodeBadConfig, "the Entra tenant does not exist", "check directoryTenant"},
	900023:  {backup.CodeBadConfig, "directoryTenant is not a tenant id or domain", "write the tenant's GUID or one of its verified domains"},
	70011:   {backup.CodeBadConfig, "Entra does not know the resource", "check graphURL against loginURL: both must belong to one cloud"},
	1002012: {backup.CodeBadConfig, "Entra does not know the resource", "check graphURL against loginURL: both must belong to one cloud"},
	65001:   {backup.CodeMissingRole, "nobody has consented to the app's permissions", "give admin consent under API permissions in the app registration"},
	650056:  {backup.CodeMissingRole, "the app asks for no permission on Microsoft Graph", "add the application permissions and give admin consent"},
	650057:  {backup.CodeMissingRole, "the app asks for no permission on Microsoft Graph", "add the application permissions and give admin consent"},
	53003:   {backup.CodeBadCredential, "a conditional access policy blocks the app", "exclude this workload identity from the policy, or allow the worker's location"},
	530034:  {backup.CodeBadCredential, "a conditional access policy blocks the app", "exclude this workload identity from the policy, or allow the worker's location"},
}

// judgeSignIn classifies a refused token request.
func judgeSignIn(status int, r signInRefusal) *backup.Error {
	busy := status == http.StatusTooManyRequests || r.Error == "temporarily_unavailable"
	for _, c := range r.Codes {
		busy = busy || c == 50196 || c == 90055
	}
	switch {
	case busy:
		return &backup.Error{Code: backup.CodeThrottled, Fault: backup.FaultVendor, Retryable: true, Message: "Microsoft's sign-in service asks to come back later", Hint: "nothing to do: it is tried again"}
	case status >= 500:
		return &backup.Error{Code: backup.CodeBadResponse, Fault: backup.FaultVendor, Retryable: true, Message: "Microsoft's sign-in service has a fault", Hint: "this usually passes by itself"}
	}
	for _, c := range r.Codes {
		if f, ok := signInFaults[c]; ok {
			return &backup.Error{Code: f.code, Fault: backup.FaultCustomer, Message: f.message, Hint: f.hint}
		}
	}
	switch r.Error {
	case "invalid_request", "invalid_scope":
		return BadConfig("Microsoft does not understand the sign-in", "check directoryTenant, clientID and graphURL")
	case "invalid_grant":
		return &backup.Error{Code: backup.CodeMissingRole, Fault: backup.FaultCustomer, Message: "the app lacks consent", Hint: "give admin consent under API permissions in the app registration"}
	}
	return &backup.Error{Code: backup.CodeBadCredential, Fault: backup.FaultCustomer, Message: "Microsoft refused the app's sign-in", Hint: "check the app registration and its client secret or certificate"}
}
