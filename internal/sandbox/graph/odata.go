package graph

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// apiError is an answer of Graph that is not a success.
type apiError struct {
	Status  int
	Code    string
	Message string
	// Inner is a more precise code inside innerError.
	Inner      string
	RetryAfter int // seconds; 0: not said
	Location   string
	Header     [2]string // one more header
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message) }

func notFound(code, message string) *apiError {
	return &apiError{Status: http.StatusNotFound, Code: code, Message: message}
}

func badRequest(code, message string) *apiError {
	return &apiError{Status: http.StatusBadRequest, Code: code, Message: message}
}

// write sends the error in Graph's envelope.
func (e *apiError) write(w http.ResponseWriter, requestID, clientID string) {
	h := w.Header()
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	if e.Location != "" {
		h.Set("Location", e.Location)
	}
	if e.Header[0] != "" {
		h.Set(e.Header[0], e.Header[1])
	}
	inner := map[string]any{"date": time.Now().UTC().Format("2006-01-02T15:04:05"), "request-id": requestID, "client-request-id": clientID}
	if e.Inner != "" {
		inner["code"] = e.Inner
	}
	writeJSON(w, e.Status, map[string]any{"error": map[string]any{"code": e.Code, "message": e.Message, "innerError": inner}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.Encode(v)
}

// object is one entity's JSON.
type object = map[string]any

// pick leaves an entity's id, its annotations and the selected properties; an empty selection leaves all.
func pick(o object, selected []string) object {
	if len(selected) == 0 {
		return o
	}
	out := object{}
	for k, v := range o {
		if k == "id" || strings.Contains(k, "@odata.") || slices.Contains(selected, k) {
			out[k] = v
		}
	}
	return out
}

// options are the query options and preferences of a request.
type options struct {
	Select []string
	Top    int // 0: not said
	Skip   int
	// PageSize is Prefer: odata.maxpagesize; Immutable is Prefer: IdType="ImmutableId".
	PageSize  int
	Immutable bool
	Hidden    bool
	Token     string // $skiptoken, $deltatoken or token
	Filter    string
	Lean      bool // deltaExcludeParent
}

// maxSelect bounds how many properties a request may name.
const maxSelect = 100

// parseOptions reads the options that this server understands. It refuses others that begin with a dollar sign, because ignoring
// one would answer a different question than was asked. known are the properties of the entity.
func parseOptions(query url.Values, header http.Header, known []string) (options, *apiError) {
	var o options
	for name, values := range query {
		value := values[len(values)-1]
		var err error
		switch strings.ToLower(strings.TrimPrefix(name, "$")) {
		case "select":
			o.Select, err = parseSelect(value, known)
		case "top":
			o.Top, err = parseCount(value, 1)
		case "skip":
			o.Skip, err = parseCount(value, 0)
		case "skiptoken", "deltatoken", "token":
			o.Token = value
		case "filter":
			o.Filter = value
		case "includehiddenfolders":
			o.Hidden, err = strconv.ParseBool(value)
		default:
			if strings.HasPrefix(name, "$") || strings.EqualFold(name, "changeType") {
				err = fmt.Errorf("the query option '%s' is not served here", name)
			}
		}
		if err != nil {
			return options{}, badRequest("BadRequest", err.Error())
		}
	}
	o.readPreferences(header)
	return o, nil
}

func parseSelect(value string, known []string) ([]string, error) {
	names := strings.Split(value, ",")
	if len(names) > maxSelect {
		return nil, fmt.Errorf("more than %d properties are selected", maxSelect)
	}
	var out []string
	for _, n := range names {
		n = strings.TrimSpace(n)
		i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, n) })
		if i < 0 {
			return nil, fmt.Errorf("Parsing OData Select and Expand failed: Could not find a property named '%.60s'", n)
		}
		out = append(out, known[i])
	}
	return out, nil
}

func parseCount(value string, low int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < low || n > 1_000_000 {
		return 0, fmt.Errorf("the value '%.20s' is not a count of at least %d", value, low)
	}
	return n, nil
}

var (
	pageSizePreference  = regexp.MustCompile(`(?i)\bodata\.maxpagesize\s*=\s*"?(\d{1,6})`)
	immutablePreference = regexp.MustCompile(`(?i)\bIdType\s*=\s*"?ImmutableId\b`)
)

// readPreferences reads Prefer, which may be repeated or joined by commas (RFC 7240). Unknown preferences are ignored by definition.
func (o *options) readPreferences(h http.Header) {
	prefer := strings.Join(h.Values("Prefer"), ",")
	if m := pageSizePreference.FindStringSubmatch(prefer); m != nil {
		o.PageSize, _ = strconv.Atoi(m[1])
	}
	o.Immutable = immutablePreference.MatchString(prefer)
	o.Lean = strings.EqualFold(h.Get("deltaExcludeParent"), "true")
}

// size decides the page size: what is asked for, within the limit, else the default.
func (o options) size(standard, limit int) int {
	n := o.Top
	if o.PageSize > 0 {
		n = o.PageSize
	}
	if n == 0 {
		n = standard
	}
	return min(n, limit)
}

// deltaSegment is the last segment of a delta call in any of its spellings; drives may carry the token inside.
var deltaSegment = regexp.MustCompile(`^(?:microsoft\.graph\.)?delta(?:\((?:token='([^']*)')?\))?$`)

// plainDelta rewrites a delta call's path to .../delta, and the token inside parentheses to a query parameter.
func plainDelta(u *url.URL) *url.URL {
	cut := strings.LastIndexByte(u.Path, '/')
	m := deltaSegment.FindStringSubmatch(u.Path[cut+1:])
	if m == nil {
		return u
	}
	out := *u
	out.Path, out.RawPath = u.Path[:cut+1]+"delta", ""
	if m[1] != "" {
		q := u.Query()
		q.Set("token", m[1])
		out.RawQuery = q.Encode()
	}
	return &out
}

// newGUID is for request and trace ids.
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// stamp formats a time as Graph does, to the second.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
