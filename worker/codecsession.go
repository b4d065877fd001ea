package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	signInPath = "/codec/sign-in"
	// sessionCookie is bound to this host and to TLS by its prefix (RFC 6265bis section 4.1.3.2).
	sessionCookie = "__Host-holdfast-codec"
	sessionTime   = 8 * time.Hour
	maxForm       = 4 << 10
)

// sessions let a person's browser use the codec: Temporal's Web UI cannot present a token of ours, but sends cookies when it is told to
// (TEMPORAL_CODEC_INCLUDE_CREDENTIALS). The person gives the read token once, on a page of the gateway's own. A session is its end and
// a MAC over it, so that every gateway with the same token knows it and none has to remember it.
type sessions struct {
	token func(*http.Request) *backup.Error
	key   []byte
	now   func() time.Time
}

func newSessions(token string) *sessions {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("holdfast codec session v1"))
	return &sessions{token: byToken(token), key: mac.Sum(nil), now: time.Now}
}

// admit lets the read token through, and a session when a page asks; which pages may is checked before.
func (s *sessions) admit(r *http.Request) *backup.Error {
	if cookie, err := r.Cookie(sessionCookie); err == nil && r.Header.Get("Origin") != "" && s.valid(cookie.Value) {
		return nil
	}
	return s.token(r)
}

func (s *sessions) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+signInPath, func(w http.ResponseWriter, _ *http.Request) {
		page(w, http.StatusOK, `<form method="post"><label>Read token <input name="token" type="password" autocomplete="off" autofocus></label> <button>Sign in</button></form>`)
	})
	mux.HandleFunc("POST "+signInPath, s.signIn)
}

func (s *sessions) signIn(w http.ResponseWriter, r *http.Request) {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		page(w, http.StatusForbidden, "<p>Sign in on this page itself.</p>")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	given := r.Clone(r.Context())
	given.Header.Set("Authorization", "Bearer "+strings.TrimSpace(r.PostFormValue("token")))
	if s.token(given) != nil {
		page(w, http.StatusUnauthorized, `<p>That is not the read token. <a href="">Again</a></p>`)
		return
	}
	end := s.now().Add(sessionTime)
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: s.session(end), Path: "/", Expires: end, Secure: true, HttpOnly: true,
		SameSite: http.SameSiteNoneMode}) // the Web UI is another site
	page(w, http.StatusOK, "<p>Temporal's Web UI shows decoded values in this browser for eight hours now. You may close this page.</p>")
}

// session is "end.mac".
func (s *sessions) session(end time.Time) string {
	text := strconv.FormatInt(end.Unix(), 10)
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (s *sessions) valid(session string) bool {
	text, _, _ := strings.Cut(session, ".")
	end, err := strconv.ParseInt(text, 10, 64)
	return err == nil && s.now().Unix() < end && hmac.Equal([]byte(session), []byte(s.session(time.Unix(end, 0))))
}

// page answers with a page that loads nothing, runs nothing and is shown in no frame.
func page(w http.ResponseWriter, status int, body string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<!doctype html><title>Holdfast</title>%s\n", body)
}
