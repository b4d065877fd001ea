package scim

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// BasePath is where the handler's resources begin. It has no underscore, which Okta would refuse.
const BasePath = "/scim/v2"

// Options of a Handler. Zero fields take the defaults.
type Options struct {
	// BaseURL is how identity providers reach BasePath, for example https://backup.example/scim/v2; default: as the request says.
	BaseURL string
	// MaxBody is the size of a body, in bytes; default 5 MB.
	MaxBody int64
	// Concurrent and PerTenant are how many requests are carried out at once, in all and for one tenant; default 64 and 16.
	Concurrent, PerTenant int
	// Wait is how long a request waits for its turn before it is answered 429; default 2 s. At most ten times Concurrent wait.
	Wait time.Duration
	// Log gets what fails on our side; default: nowhere. No values of resources reach it.
	Log *zap.Logger
	// Now is the clock; default time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.MaxBody == 0 {
		o.MaxBody = 5 << 20
	}
	if o.Concurrent == 0 {
		o.Concurrent = 64
	}
	if o.PerTenant == 0 {
		o.PerTenant = 16
	}
	if o.Wait == 0 {
		o.Wait = 2 * time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.BaseURL = strings.TrimRight(o.BaseURL, "/")
	return o
}

// Handler answers identity providers below BasePath.
type Handler struct {
	store     Store
	pushed    func(backup.SCIMScope)
	options   Options
	turns     *turns
	discovery discovery
}

// NewHandler makes a handler. pushed is called after every change that was committed; it must return at once.
func NewHandler(store Store, pushed func(backup.SCIMScope), o Options) *Handler {
	o = o.withDefaults()
	return &Handler{store, pushed, o, newTurns(o.Concurrent, o.PerTenant, o.Wait), discover()}
}

// HashToken is what is kept of a bearer token.
func HashToken(token string) []byte {
	h := sha256.Sum256([]byte(token))
	return h[:]
}

// request is one request on its way through the handler.
type request struct {
	*Handler
	w     http.ResponseWriter
	r     *http.Request
	scope backup.SCIMScope
	query url.Values
	// started: a part of the answer is on the wire, so an error can only break it off.
	started bool
}

// endpoint is what answers a method of a path; id is what stands behind the resource type.
type endpoint func(q *request, id string) error

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{Handler: h, w: w, r: r}
	defer q.recoverPanic()
	if err := q.serve(); err != nil {
		q.fail(err)
	}
}

// recoverPanic answers 500 for a mistake of ours, or of a library; the peer cannot take the process down.
func (q *request) recoverPanic() {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) || q.started {
		panic(http.ErrAbortHandler)
	}
	q.options.Log.Error("a request failed in a way that was not foreseen", zap.String("method", q.r.Method), zap.Any("panic", p))
	refuse(http.StatusInternalServerError, "", "Holdfast failed to carry this out. Its log says why.").write(q.w)
}

func (q *request) fail(err error) {
	r := refusalOf(err)
	var own *refusal
	if r.Status >= 500 && !errors.As(err, &own) && q.r.Context().Err() == nil {
		q.options.Log.Error("a request failed", zap.String("method", q.r.Method), zap.String("tenant", q.scope.Tenant), zap.String("directory", string(q.scope.Directory)), zap.Error(err))
	}
	if q.started {
		panic(http.ErrAbortHandler)
	}
	r.write(q.w)
}

func (q *request) serve() error {
	path, ok := strings.CutPrefix(q.r.URL.Path, BasePath)
	if !ok || (path != "" && path[0] != '/') {
		return refuse(http.StatusNotFound, "", "There is nothing here: the base URL ends in %s.", BasePath)
	}
	path = strings.TrimSuffix(path, "/")
	var err error
	if q.query, err = url.ParseQuery(q.r.URL.RawQuery); err != nil {
		return badValue("The query of the URL is not encoded rightly.")
	}
	methods, id := route(path)
	if methods == nil {
		return refuse(http.StatusNotFound, "", "There is no such resource type or endpoint: %q.", excerpt(path))
	}
	done, err := q.turns.take(q.r.Context())
	if err != nil {
		return err
	}
	defer done()
	if !public(q.r, path) {
		if err := q.authenticate(); err != nil {
			return err
		}
		done, err := q.turns.takeOf(q.r.Context(), q.scope.Tenant)
		if err != nil {
			return err
		}
		defer done()
	}
	answer, ok := methods[q.r.Method]
	if !ok {
		return notAllowed(q.r.Method, methods)
	}
	return answer(q, id)
}

// public is the document that tells how to authenticate; RFC 7643 section 5 wants it to be had without.
func public(r *http.Request, path string) bool {
	return path == "/ServiceProviderConfig" && r.Header.Get("Authorization") == ""
}

func (q *request) authenticate() error {
	scheme, token, _ := strings.Cut(q.r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return refuse(http.StatusUnauthorized, "", "Send the token that holdfast scim token add printed, as Authorization: Bearer.")
	}
	known, err := q.store.TokenScope(q.r.Context(), HashToken(token))
	if backup.HasCode(err, backup.CodeNotFound) {
		return refuse(http.StatusUnauthorized, "", "The token is not known. Make a new one with holdfast scim token add, and enter it in the identity provider.")
	}
	if err != nil {
		return err
	}
	if !known.Expires.IsZero() && !q.options.Now().Before(known.Expires) {
		return refuse(http.StatusUnauthorized, "", "The token has expired. Make a new one with holdfast scim token add, and enter it in the identity provider.")
	}
	q.scope = known.SCIMScope
	return nil
}

// base is the absolute URL of BasePath.
func (q *request) base() string {
	if q.options.BaseURL != "" {
		return q.options.BaseURL
	}
	scheme := "http"
	if q.r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + q.r.Host + BasePath
}

// changed tells that something was committed.
func (q *request) changed() {
	if q.pushed != nil {
		q.pushed(q.scope)
	}
}

// context ends with the request.
func (q *request) context() context.Context { return q.r.Context() }
