package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// maxMuteBody bounds the request in bytes; a real one has about a hundred.
const maxMuteBody = 4 << 10

// mute keeps an open alert quiet for a while. It changes whom the alert is told to and nothing else: it stays open, listed and counted.
func (s *reader) mute(ctx context.Context, r *http.Request) (any, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxMuteBody))
	var m readapi.Mute
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	if err != nil || m.Kind == "" || m.Until.After(time.Now().Add(readapi.MaxMute+time.Minute)) {
		return nil, badQuery("an alert is muted by its kind and subject, until a time at most 31 days ahead")
	}
	tenant := r.PathValue("tenant")
	found, err := s.store.MuteAlert(ctx, tenant, m.Kind, m.Subject, m.Until)
	if err == nil && !found {
		err = &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "no such alert of " + tenant + " is open", Hint: "holdfast alerts " + tenant}
	}
	return struct{}{}, err
}
