package graph

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/http"
	"net/mail"
	"net/textproto"
	"strings"
)

// attachment is a part of a message that is not its text.
type attachment struct {
	name, contentType, contentID string
	inline                       bool
	data                         []byte
}

// maxAttachments and maxNesting bound what is read out of a message.
const (
	maxAttachments = 200
	maxNesting     = 8
)

// readAttachments takes a message's attachments out of its bytes. A message that cannot be taken apart has none.
func readAttachments(raw []byte) []attachment {
	msg, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return nil
	}
	return walkParts(textproto.MIMEHeader(msg.Header), msg.Body, 0)
}

func walkParts(h textproto.MIMEHeader, body io.Reader, depth int) []attachment {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || !strings.HasPrefix(kind, "multipart/") || params["boundary"] == "" || depth > maxNesting {
		return nil
	}
	var list []attachment
	parts := multipart.NewReader(body, params["boundary"])
	for len(list) < maxAttachments {
		p, err := parts.NextRawPart()
		if err != nil {
			return list
		}
		disposition, dp, _ := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
		if disposition == "" {
			list = append(list, walkParts(p.Header, p, depth+1)...)
			continue
		}
		data, err := io.ReadAll(decoded(p.Header.Get("Content-Transfer-Encoding"), p))
		if err != nil {
			continue
		}
		partType, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		list = append(list, attachment{dp["filename"], partType, strings.Trim(p.Header.Get("Content-Id"), "<>"), disposition == "inline", data})
	}
	return list
}

func decoded(encoding string, r io.Reader) io.Reader {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, r)
	case "quoted-printable":
		return quotedprintable.NewReader(r)
	}
	return r
}

func (c *call) attachments() (*mailbox, message, []attachment, error) {
	m, msg, e := c.take()
	if e != nil {
		return nil, message{}, nil, e
	}
	b, err := m.bytes(msg)
	if err != nil {
		return nil, message{}, nil, err
	}
	return m, msg, readAttachments(b), nil
}

// attachmentID is a message's id and the attachment's place in it.
func attachmentID(m *mailbox, msg message, i int) string {
	return m.user.ids.messageID(msg.n, 0) + "." + string(rune('A'+i/26%26)) + string(rune('A'+i%26))
}

func (s *Server) listAttachments(c *call) error {
	m, msg, list, err := c.attachments()
	if err != nil {
		return err
	}
	value := make([]object, len(list))
	for i, a := range list {
		o := object{"id": attachmentID(m, msg, i), "name": a.name, "contentType": a.contentType, "size": len(a.data), "isInline": a.inline, "lastModifiedDateTime": stamp(msg.modified)}
		if a.contentType == "message/rfc822" {
			o["@odata.type"] = "#microsoft.graph.itemAttachment"
		} else {
			o["@odata.type"], o["contentBytes"] = "#microsoft.graph.fileAttachment", base64.StdEncoding.EncodeToString(a.data)
			if a.contentID != "" {
				o["contentId"] = a.contentID
			}
		}
		value[i] = o
	}
	writeJSON(c.w, http.StatusOK, object{"@odata.context": s.GraphURL() + "/$metadata" + mailContext(c.user, "messages") + "/attachments", "value": value})
	return nil
}

func (s *Server) attachmentValue(c *call) error {
	m, msg, list, err := c.attachments()
	if err != nil {
		return err
	}
	for i, a := range list {
		if attachmentID(m, msg, i) == c.r.PathValue("attachment") {
			c.w.Header().Set("Content-Type", "application/octet-stream")
			c.w.Write(a.data)
			return nil
		}
	}
	return notFound("ErrorItemNotFound", "The specified object was not found in the store.")
}
