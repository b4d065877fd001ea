package scim

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"unicode/utf8"
)

const (
	contentType = "application/scim+json"
	// maxNesting is how deep JSON may be: a PATCH of an extension's complex multi-valued attribute is 7 deep.
	maxNesting = 24
)

// readBody reads a JSON object of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) (map[string]any, error) {
	if t := r.Header.Get("Content-Type"); t != "" {
		media, _, err := mime.ParseMediaType(t)
		if err != nil || (media != contentType && media != "application/json") {
			return nil, refuse(http.StatusUnsupportedMediaType, "", "The body is %q; send application/scim+json or application/json.", excerpt(t))
		}
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, refuse(http.StatusRequestEntityTooLarge, "", "The body is larger than %d bytes. Send fewer members or operations at a time.", limit)
	}
	if err != nil {
		return nil, badSyntax("The body broke off: send it again.")
	}
	return parseObject(b)
}

// parseObject reads exactly one JSON object. Numbers stay text.
func parseObject(b []byte) (map[string]any, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(b) {
		return nil, badSyntax("The body is not UTF-8.")
	}
	if tooDeep(b) {
		return nil, badSyntax("The body is nested more than %d deep.", maxNesting)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil || object == nil {
		return nil, badSyntax("The body is not a JSON object.")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, badSyntax("Something follows the JSON object in the body.")
	}
	return object, nil
}

// tooDeep counts brackets outside of strings, before anything is built of them.
func tooDeep(b []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxNesting {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types only
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(b) // the connection is gone when this fails: nobody is there to be told
}
