package scim

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	timeFormat = "2006-01-02T15:04:05.000Z"
	// memberPage is how many members are read, and written, at a time.
	memberPage = 1000
)

// newID is opaque and never used again.
func newID() string { return uuid.NewString() }

// decode reads what the store has kept.
func decode(doc json.RawMessage) (document, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	out := document{}
	if err := d.Decode(&out); err != nil {
		return nil, &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "a SCIM resource in the store is not JSON", Cause: err}
	}
	return out, nil
}

// encode is canonical: the same document is the same bytes.
func encode(doc document) json.RawMessage {
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err) // made by us of JSON
	}
	return b
}

// show adds what is ours to a document: schemas, id and meta.
func (t *resourceType) show(doc document, base, id string, version int64, created, modified time.Time) map[string]any {
	schemas := []string{t.core.ID}
	for _, s := range t.extensions {
		if _, ok := doc[s.ID]; ok {
			schemas = append(schemas, s.ID)
		}
	}
	doc["schemas"], doc["id"] = schemas, id
	doc["meta"] = map[string]any{"resourceType": t.name, "created": created.UTC().Format(timeFormat), "lastModified": modified.UTC().Format(timeFormat),
		"location": base + t.endpoint + "/" + id, "version": etag(version)}
	return doc
}

// projection reads attributes and excludedAttributes of the query.
func (q *request) projection(t *resourceType) (projection, error) {
	return t.project(names(q.query["attributes"]), names(q.query["excludedAttributes"]))
}

// head writes the headers of a resource's answer.
func (q *request) head(status int, location string, version int64) {
	h := q.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("ETag", etag(version))
	if status == http.StatusCreated {
		h.Set("Location", location)
	} else {
		h.Set("Content-Location", location)
	}
	q.w.WriteHeader(status)
	q.started = true
}
