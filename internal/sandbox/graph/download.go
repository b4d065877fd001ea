package graph

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// ticket is what a pre-authenticated download URL holds. Whoever has the URL may read this one file for some minutes.
type ticket struct {
	Owner   string `json:"o"` // GraphID
	Item    int    `json:"i"`
	Expires int64  `json:"x"` // Unix seconds
}

func (s *Server) downloadURL(d *drive, it *driveItem) string {
	b, err := json.Marshal(ticket{d.user.GraphID, it.n, time.Now().Add(s.opt.DownloadLife).Unix()})
	if err != nil {
		panic(fmt.Sprintf("a ticket is plain data: %v", err))
	}
	return s.contentURL + "/download/" + base64.RawURLEncoding.EncodeToString(append(checkOf(s.company.signKey, b), b...))
}

// maxTicket bounds a ticket in bytes.
const maxTicket = 1024

func (s *Server) readTicket(text string, now time.Time) (ticket, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	var t ticket
	if len(text) > maxTicket || err != nil || len(b) < checkLen || string(b[:checkLen]) != string(checkOf(s.company.signKey, b[checkLen:])) {
		return t, false
	}
	return t, json.Unmarshal(b[checkLen:], &t) == nil && now.Unix() < t.Expires
}

// itemContent answers with the address of the content.
func (s *Server) itemContent(c *call) error {
	d, e := c.drive()
	if e != nil {
		return e
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	it, e := d.item(c.r.PathValue("item"))
	if e != nil {
		return e
	}
	if e := s.refuseContent(c, d, it); e != nil {
		return e
	}
	if tag := itemETag(d, it); c.r.Header.Get("If-None-Match") == tag {
		c.w.Header().Set("ETag", tag)
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	c.w.Header().Set("Location", s.downloadURL(d, it))
	c.w.WriteHeader(http.StatusFound)
	return nil
}

func itemETag(d *drive, it *driveItem) string {
	return fmt.Sprintf(`"c:{%s},%d"`, strings.ToUpper(guid(0, d.user.ids.itemID(it.n))), it.version+1)
}

// refuseContent says why an item's content cannot be had.
func (s *Server) refuseContent(c *call, d *drive, it *driveItem) *apiError {
	switch it.kind {
	case itemFolder, itemPackage:
		return badRequest("invalidRequest", "You cannot get content for a folder")
	case itemShortcut:
		return notFound("itemNotFound", "The item is in another drive.")
	case itemMalware:
		return &apiError{Status: 403, Code: "malwareDetected", Message: "Malware was detected in the requested resource.", Header: [2]string{"X-Virus-Infected", "Virus.EICAR"}}
	}
	f, hit := s.faults.strikeItem(c.kind, d.user.UPN, d.user.ids.itemID(it.n), FaultLocked, FaultDenied, FaultTooLarge)
	switch {
	case !hit:
		return nil
	case f.Kind == FaultLocked:
		return &apiError{Status: http.StatusLocked, Code: "resourceLocked", Message: "The resource is locked by another user."}
	case f.Kind == FaultTooLarge:
		return &apiError{Status: http.StatusRequestEntityTooLarge, Code: "invalidRequest", Message: "The file is too large for this operation."}
	}
	return &apiError{Status: 403, Code: "accessDenied", Inner: "accessRestricted", Message: "The item is closed by a data loss prevention policy."}
}

// contentHandler is the host of pre-authenticated downloads. It takes no access token: one that is sent there has leaked, so
// the request is refused and the leak becomes visible.
func (s *Server) contentHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /download/{ticket}", s.serveDownload)
	return mux
}

func (s *Server) serveDownload(w http.ResponseWriter, r *http.Request) {
	s.calls.add(CallDownload)
	if r.Header.Get("Authorization") != "" {
		(&apiError{Status: http.StatusUnauthorized, Code: "unauthenticated", Message: "A pre-authenticated URL must be called without Authorization."}).write(w, newGUID(), "")
		return
	}
	it, d, ok := s.ticketItem(r.PathValue("ticket"))
	if !ok {
		(&apiError{Status: http.StatusForbidden, Code: "accessDenied", Message: "The download URL has expired or is not valid."}).write(w, newGUID(), "")
		return
	}
	s.delay(r, CallDownload, d.user.UPN)
	if f, hit := s.faults.strike(CallDownload, d.user.UPN, FaultThrottle, FaultUnavailable); hit {
		f.answer(areaFiles).write(w, newGUID(), "")
		return
	}
	content, err := it.open()
	if err != nil {
		(&apiError{Status: http.StatusInternalServerError, Code: "generalException", Message: err.Error()}).write(w, newGUID(), "")
		return
	}
	defer content.Close()
	w.Header().Set("ETag", itemETag(d, &it))
	w.Header().Set("Content-Type", "application/octet-stream")
	if _, hit := s.faults.strikeItem(CallDownload, d.user.UPN, d.user.ids.itemID(it.n), FaultCut); hit {
		cutBody(w, content, it.size())
	}
	http.ServeContent(w, r, "", it.modified, content)
}

// cutBody promises the whole body, sends half of it and breaks the connection. It does not return.
func cutBody(w http.ResponseWriter, content io.Reader, size int64) {
	w.Header().Set("Content-Length", fmt.Sprint(size))
	w.WriteHeader(http.StatusOK)
	io.CopyN(w, content, size/2)
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// ticketItem gives a copy of the item, as it is now.
func (s *Server) ticketItem(text string) (driveItem, *drive, bool) {
	t, ok := s.readTicket(text, time.Now())
	u, known := s.company.find(t.Owner)
	if !ok || !known {
		return driveItem{}, nil, false
	}
	d := u.drive()
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.Item < 1 || t.Item > len(d.items) || d.items[t.Item-1].gone {
		return driveItem{}, nil, false
	}
	return *d.items[t.Item-1], d, true
}
