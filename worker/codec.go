package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/payload"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// openCodec reads the payload keys, which every process needs that talks to Temporal.
func (s settings) openCodec(ctx context.Context) (*payload.Codec, error) {
	ref := backup.SecretRef(s.PayloadKeys)
	file, isFile := strings.CutPrefix(s.PayloadKeys, "file:")
	if _, err := os.Stat(file); isFile && errors.Is(err, fs.ErrNotExist) {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs, Message: "there are no payload keys in " + file + "; they encrypt what goes to Temporal",
			Hint: "holdfastd payload-key new --out " + file + "   (once; then copy it to every machine that runs holdfastd)"}
	}
	return payload.Open(ctx, func(ctx context.Context) ([]byte, error) { return resolveSecret(ctx, ref) })
}

// codecServer encrypts and decrypts payloads over HTTP, for the Web UI and for command lines that hold no keys: Temporal's codec
// protocol (https://docs.temporal.io/codec-server), with authentication and with CORS for exactly the pages that are named.
type codecServer struct {
	codec converter.PayloadCodec
	// origins are the pages that may ask, as scheme://host:port.
	origins atomic.Pointer[[]string]
	// admit lets a request through, or says with what it is refused.
	admit func(*http.Request) *backup.Error
}

func newCodecServer(codec converter.PayloadCodec, admit func(*http.Request) *backup.Error, origins ...string) *codecServer {
	s := &codecServer{codec: codec, admit: admit}
	s.origins.Store(&origins)
	return s
}

// routes serves below prefix.
func (s *codecServer) routes(mux *http.ServeMux, prefix string) {
	mux.Handle(prefix+"encode", s.exchange(s.codec.Encode))
	mux.Handle(prefix+"decode", s.exchange(s.codec.Decode))
}

type transform func([]*commonpb.Payload) ([]*commonpb.Payload, error)

func (s *codecServer) exchange(f transform) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.crossOrigin(w, r) {
			return
		}
		if refused := s.admit(r); refused != nil {
			refuse(w, http.StatusUnauthorized, refused)
			return
		}
		payloads, ok := readPayloads(w, r)
		if !ok {
			return
		}
		changed, err := f(payloads)
		if err != nil {
			e := backup.AsError(err)
			refuse(w, statusOf(e.Code), e)
			return
		}
		answerPayloads(w, changed)
	})
}

// crossOrigin answers preflights and refuses pages that are not named (https://fetch.spec.whatwg.org/#http-cors-protocol). A request
// without an origin is no browser's. It tells whether to go on.
func (s *codecServer) crossOrigin(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Add("Vary", "Origin")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	origin := r.Header.Get("Origin")
	if origin != "" {
		if !slices.Contains(*s.origins.Load(), origin) {
			refuse(w, http.StatusForbidden, &backup.Error{Code: backup.CodeNotAllowed, Message: "this page may not ask for decoded values", Hint: "name its origin with --ui-origin"})
			return false
		}
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	switch {
	case r.Method == http.MethodPost:
		return true
	case r.Method == http.MethodOptions && origin != "":
		h.Set("Access-Control-Allow-Methods", http.MethodPost)
		h.Set("Access-Control-Allow-Headers", "authorization, content-type, x-namespace")
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
		return false
	}
	h.Set("Allow", "POST, OPTIONS")
	refuse(w, http.StatusMethodNotAllowed, &backup.Error{Code: backup.CodeBadConfig, Message: "the codec takes POST only"})
	return false
}

// readPayloads reads a request's body. The type must be JSON: what a page may send without a preflight never is.
func readPayloads(w http.ResponseWriter, r *http.Request) ([]*commonpb.Payload, bool) {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, &backup.Error{Code: backup.CodeBadConfig, Message: "the codec takes application/json only"})
		return nil, false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, readapi.MaxCodec))
	if err != nil {
		status := http.StatusBadRequest
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		refuse(w, status, &backup.Error{Code: backup.CodeBadConfig, Message: "the request cannot be read, or is larger than 8 MiB"})
		return nil, false
	}
	var p commonpb.Payloads
	if err := protojson.Unmarshal(body, &p); err != nil || slices.Contains(p.GetPayloads(), nil) {
		refuse(w, http.StatusBadRequest, &backup.Error{Code: backup.CodeBadConfig, Message: "the body is not temporal.api.common.v1.Payloads as JSON"})
		return nil, false
	}
	return p.GetPayloads(), true
}

func answerPayloads(w http.ResponseWriter, payloads []*commonpb.Payload) {
	b, err := protojson.Marshal(&commonpb.Payloads{Payloads: payloads})
	if err != nil {
		refuse(w, http.StatusInternalServerError, backup.AsError(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // the connection is gone when this fails: nobody is there to be told
}

func refuse(w http.ResponseWriter, status int, e *backup.Error) {
	write(w, status, readapi.Failure{Code: e.Code, Message: e.Error(), Hint: e.Hint})
}

// byToken admits who carries the read token.
func byToken(token string) func(*http.Request) *backup.Error {
	want := sha256.Sum256([]byte(token))
	return func(r *http.Request) *backup.Error {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(given)) // of equal length, so that the comparison tells nothing by its time
		if ok && subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			return nil
		}
		return &backup.Error{Code: backup.CodeBadCredential, Message: "the read token is missing or wrong", Hint: "give the file that holdfastd keeps it in as HOLDFAST_TOKEN_FILE"}
	}
}

// checkOrigins refuses what is not the origin of a page, wildcards above all.
func checkOrigins(origins []string) error {
	for _, o := range origins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Contains(o, "*") || o != u.Scheme+"://"+u.Host {
			return &usageError{&backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "--ui-origin must look like https://temporal.example:8080, and " + o + " does not"}}
		}
	}
	return nil
}

// localCodec is the codec of `dev` for the Web UI on the same machine. The page cannot present a token, and a browser refuses our own
// certificate behind its back; so this listens on loopback without TLS, under a path that is drawn at each start and that only the Web
// UI is told, and answers only to the Web UI's own pages. Whoever may use the Web UI can see what it shows: that is everybody who can
// connect to this machine's loopback.
type localCodec struct {
	*codecServer
	listener net.Listener
	server   *http.Server
	endpoint string
}

func startLocalCodec(codec converter.PayloadCodec) (*localCodec, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &localCodec{listener: l}
	host := l.Addr().String()
	c.codecServer = newCodecServer(codec, func(r *http.Request) *backup.Error {
		if r.Host == host && r.Header.Get("Origin") != "" { // another host is a name that somebody points at loopback
			return nil
		}
		return &backup.Error{Code: backup.CodeNotAllowed, Message: "this codec is for the Web UI of this machine"}
	})
	path := "/" + strings.ToLower(rand.Text()) + "/"
	c.endpoint = "http://" + host + strings.TrimSuffix(path, "/")
	mux := http.NewServeMux()
	c.routes(mux, path)
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	go func() { _ = c.server.Serve(l) }() // ends by close
	return c, nil
}

// allow names the Web UI, which is known only when it runs; it may be called by either name of loopback.
func (c *localCodec) allow(webUI string) {
	u, err := url.Parse(webUI)
	if err != nil || u.Host == "" {
		return
	}
	c.origins.Store(&[]string{"http://127.0.0.1:" + u.Port(), "http://localhost:" + u.Port()})
}

func (c *localCodec) close() { c.server.Close() }
