package graph

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/sandbox/content"
)

var folderProperties = []string{"id", "displayName", "parentFolderId", "childFolderCount", "totalItemCount", "unreadItemCount", "isHidden"}

var messageProperties = []string{"id", "changeKey", "categories", "createdDateTime", "lastModifiedDateTime", "receivedDateTime", "sentDateTime", "hasAttachments",
	"internetMessageId", "subject", "bodyPreview", "body", "importance", "parentFolderId", "conversationId", "conversationIndex", "isDeliveryReceiptRequested",
	"isReadReceiptRequested", "isRead", "isDraft", "webLink", "inferenceClassification", "from", "sender", "toRecipients", "ccRecipients", "bccRecipients",
	"replyTo", "flag"}

// folderObject renders a folder. The counts are those of now.
func (m *mailbox) folderObject(f *mailFolder) object {
	o := object{"id": m.user.ids.folderID(f.n), "displayName": f.name, "parentFolderId": m.user.ids.folderID(max(f.parent, rootNumber)), "isHidden": f.hidden}
	children, total, unread := 0, 0, 0
	for _, g := range m.folders {
		if g.parent == f.n && !g.gone {
			children++
		}
	}
	for _, msg := range m.messages {
		if msg != nil && msg.folder == f.n {
			total++
			if !msg.read {
				unread++
			}
		}
	}
	o["childFolderCount"], o["totalItemCount"], o["unreadItemCount"] = children, total, unread
	if f.search {
		o["@odata.type"] = "#microsoft.graph.mailSearchFolder"
		o["isSupported"], o["includeNestedFolders"], o["filterQuery"] = true, true, "isRead eq false"
		o["sourceFolderIds"] = []string{m.user.ids.folderID(rootNumber)}
	}
	return o
}

func (s *Server) listFolders(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, folderProperties)
	if e != nil {
		return e
	}
	m := c.user.mail()
	m.mu.Lock()
	defer m.mu.Unlock()
	parent := rootNumber
	if id := c.r.PathValue("folder"); id != "" {
		f, e := m.folder(id)
		if e != nil {
			return e
		}
		parent = f.n
	}
	l := listing{feed: feedName("folderlist", c.user.GraphID, fmt.Sprint(parent)), context: mailContext(c.user, "mailFolders"), size: o.size(outlookDefault, outlookMax)}
	if e := s.resume(&l, &o); e != nil {
		return e
	}
	var list []*mailFolder
	for _, f := range m.folders {
		if f.parent == parent && !f.gone && (o.Hidden || !f.hidden) {
			list = append(list, f)
		}
	}
	return writeList(s, c, l, o, list, m.folderObject)
}

func (s *Server) getFolder(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, folderProperties)
	if e != nil {
		return e
	}
	m := c.user.mail()
	m.mu.Lock()
	defer m.mu.Unlock()
	f, e := m.folder(c.r.PathValue("folder"))
	if e != nil {
		return e
	}
	out := pick(m.folderObject(f), o.Select)
	out["@odata.context"] = s.GraphURL() + "/$metadata" + mailContext(c.user, "mailFolders") + "/$entity"
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

func mailContext(u *user, what string) string { return "#users('" + u.GraphID + "')/" + what }

// folderDelta lists the whole tree flat, without the root.
func (s *Server) folderDelta(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, folderProperties)
	if e != nil {
		return e
	}
	m := c.user.mail()
	m.mu.Lock()
	defer m.mu.Unlock()
	r, e := s.openRound(c, Mail, feedName("folders", c.user.GraphID), o, m.seq, outlookDefault, outlookMax)
	if e != nil {
		return e
	}
	entries, more := r.page(m.tree, func(e feedEntry) bool {
		f := m.folders[e.n-1]
		return f.seq == e.seq && f.n != rootNumber && (r.cursor.Hidden || !f.hidden) && (!f.gone || e.seq > r.cursor.Floor)
	})
	value := make([]object, 0, len(entries))
	for _, e := range entries {
		f := m.folders[e.n-1]
		if f.gone {
			value = append(value, removed(m.user.ids.folderID(f.n)))
			continue
		}
		value = append(value, pick(m.folderObject(f), r.cursor.Select))
	}
	s.writePage(c, r, "#Collection(mailFolder)", value, more)
	return nil
}

func removed(id string) object {
	return object{"id": id, "@removed": object{"reason": "deleted"}}
}

// messageObject renders the selected properties of a message. immutable chooses the form of the id.
func (m *mailbox) messageObject(msg *message, immutable bool, selected []string) object {
	mail, ids := m.mail(msg), m.user.ids
	id := ids.messageID(msg.n, msg.folder)
	if immutable {
		id = ids.messageID(msg.n, 0)
	}
	changeKey := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "CK%06d.%06d.%06d", msg.n, msg.version, msg.edits))
	from := recipient(mail.From)
	to := make([]object, len(mail.To))
	for i, a := range mail.To {
		to[i] = recipient(a)
	}
	o := object{
		"@odata.type": "#microsoft.graph.message", "@odata.etag": `W/"` + changeKey + `"`, "id": id, "changeKey": changeKey, "categories": []string{},
		"createdDateTime": stamp(msg.created), "lastModifiedDateTime": stamp(msg.modified), "receivedDateTime": stamp(msg.created), "sentDateTime": stamp(mail.Sent),
		"hasAttachments": mail.Shape == content.WithFiles || mail.Shape == content.WithMessage, "internetMessageId": "<" + mail.MessageID + ">", "subject": mail.Subject,
		"importance":     "normal",
		"parentFolderId": ids.folderID(msg.folder), "conversationId": mutablePrefix + mailCoding.EncodeToString(fmt.Appendf(nil, "conversation %06d", msg.n)),
		"isDeliveryReceiptRequested": false, "isReadReceiptRequested": false, "isRead": msg.read, "isDraft": msg.folder == draftsNumber,
		"webLink": "https://outlook.example/owa/?ItemID=" + id, "inferenceClassification": "focused", "from": from, "sender": from, "toRecipients": to,
		"ccRecipients": []object{}, "bccRecipients": []object{}, "replyTo": []object{}, "flag": object{"flagStatus": "notFlagged"},
	}
	if len(selected) == 0 || slices.Contains(selected, "body") || slices.Contains(selected, "bodyPreview") {
		text := ""
		if msg.raw == nil {
			text = mail.Text()
		}
		o["body"] = object{"contentType": "text", "content": text}
		o["bodyPreview"] = strings.ToValidUTF8(text[:min(len(text), 200)], "")
	}
	return pick(o, selected)
}

func recipient(a content.Address) object {
	return object{"emailAddress": object{"name": a.Name, "address": a.Mail}}
}

// receivedFilter is the only filter that message delta takes.
var receivedFilter = regexp.MustCompile(`^receivedDateTime (ge|gt) (\S{10,40})$`)

func parseReceived(filter string) (time.Time, *apiError) {
	if filter == "" {
		return time.Time{}, nil
	}
	m := receivedFilter.FindStringSubmatch(filter)
	if m == nil {
		return time.Time{}, badRequest("ErrorInvalidUrlQuery", "The following parameters are not supported with change tracking over the 'Messages' resource: '$filter'.")
	}
	at, err := time.Parse(time.RFC3339, m[2])
	if err != nil {
		return time.Time{}, badRequest("BadRequest", "Invalid filter clause.")
	}
	if m[1] == "gt" {
		at = at.Add(time.Nanosecond)
	}
	return at, nil
}

func (s *Server) messageDelta(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, messageProperties)
	if e != nil {
		return e
	}
	since, e := parseReceived(o.Filter)
	if e != nil {
		return e
	}
	m := c.user.mail()
	m.mu.Lock()
	defer m.mu.Unlock()
	f, e := m.folder(c.r.PathValue("folder"))
	if e != nil {
		return e
	}
	r, e := s.openRound(c, Mail, feedName("messages", c.user.GraphID, fmt.Sprint(f.n)), o, m.seq, outlookDefault, outlookMax)
	if e != nil {
		return e
	}
	if o.Token == "" && o.Filter != "" {
		r.cursor.After = since.Format(time.RFC3339Nano)
	}
	entries, more := r.page(f.feed, m.received(r.cursor.After, m.live(f, r.cursor.Floor)))
	value := make([]object, 0, len(entries))
	for _, e := range entries {
		value = append(value, m.deltaObject(f, e.n, r.cursor.Select, o.Immutable))
	}
	applyPreferences(c.w, o)
	s.writePage(c, r, "#Collection(message)", value, more)
	return nil
}

// received narrows a feed to messages received since a time; removals pass.
func (m *mailbox) received(after string, live func(feedEntry) bool) func(feedEntry) bool {
	at, err := time.Parse(time.RFC3339Nano, after)
	if err != nil {
		return live
	}
	return func(e feedEntry) bool {
		msg := m.messages[e.n-1]
		return live(e) && (msg == nil || !msg.created.Before(at))
	}
}

// deltaObject is a message as its folder's feed shows it: as it is, or as removed when it is not in the folder any more.
func (m *mailbox) deltaObject(f *mailFolder, n int, selected []string, immutable bool) object {
	if _, left := f.left[n]; !left {
		return m.messageObject(m.messages[n-1], immutable, selected)
	}
	if immutable {
		return removed(m.user.ids.messageID(n, 0))
	}
	return removed(m.user.ids.messageID(n, f.n))
}

// applyPreferences tells which preferences were followed (RFC 7240).
func applyPreferences(w http.ResponseWriter, o options) {
	if o.Immutable {
		w.Header().Add("Preference-Applied", `IdType="ImmutableId"`)
	}
	if o.PageSize > 0 {
		w.Header().Add("Preference-Applied", fmt.Sprintf("odata.maxpagesize=%d", min(o.PageSize, outlookMax)))
	}
}

// listMessages lists a folder, or the whole mailbox without the hidden folders.
func (s *Server) listMessages(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, messageProperties)
	if e != nil {
		return e
	}
	m := c.user.mail()
	m.mu.Lock()
	defer m.mu.Unlock()
	within := 0
	if id := c.r.PathValue("folder"); id != "" {
		f, e := m.folder(id)
		if e != nil {
			return e
		}
		within = f.n
	}
	l := listing{feed: feedName("messagelist", c.user.GraphID, fmt.Sprint(within)), context: mailContext(c.user, "messages"), size: o.size(outlookDefault, outlookMax)}
	if e := s.resume(&l, &o); e != nil {
		return e
	}
	var list []*message
	for _, msg := range m.messages {
		if msg != nil && (msg.folder == within || within == 0 && !m.folders[msg.folder-1].hidden) {
			list = append(list, msg)
		}
	}
	return writeList(s, c, l, o, list, func(msg *message) object { return m.messageObject(msg, o.Immutable, o.Select) })
}

// take finds the message of a call and gives a copy, so that its content can be made without the lock.
func (c *call) take() (*mailbox, message, *apiError) {
	m := c.user.mail()
	m.mu.Lock()
	defer m.mu.Unlock()
	msg, e := m.message(c.r.PathValue("message"))
	if e != nil {
		return nil, message{}, e
	}
	return m, *msg, nil
}

func (s *Server) getMessage(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, messageProperties)
	if e != nil {
		return e
	}
	m, msg, e := c.take()
	if e != nil {
		return e
	}
	out := m.messageObject(&msg, o.Immutable, o.Select)
	delete(out, "@odata.type")
	out["@odata.context"] = s.GraphURL() + "/$metadata" + mailContext(c.user, "messages") + "/$entity"
	applyPreferences(c.w, o)
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

// messageValue streams the message's RFC 5322 bytes, without saying beforehand how many there are.
func (s *Server) messageValue(c *call) error {
	m, msg, e := c.take()
	if e != nil {
		return e
	}
	id := m.user.ids.messageID(msg.n, 0)
	if f, hit := s.faults.strikeItem(c.kind, c.user.UPN, id, FaultCorrupt, FaultTooLarge); hit {
		if f.Kind == FaultTooLarge {
			return &apiError{Status: http.StatusRequestEntityTooLarge, Code: "ErrorMessageSizeExceeded", Message: "The message exceeds the maximum supported size."}
		}
		return &apiError{Status: http.StatusInternalServerError, Code: "ErrorCorruptData", Message: "Data is corrupt."}
	}
	b, err := m.bytes(msg)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "text/plain")
	if _, hit := s.faults.strikeItem(c.kind, c.user.UPN, id, FaultCut); hit {
		c.w.Write(b[:len(b)/2])
		http.NewResponseController(c.w).Flush()
		panic(http.ErrAbortHandler)
	}
	c.w.Write(b)
	return nil
}
