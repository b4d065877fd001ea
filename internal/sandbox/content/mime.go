package content

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
)

const crlf = "\r\n"

// Bytes makes the mail as RFC 5322 bytes with CRLF line ends.
func (m Mail) Bytes() []byte {
	text := m.Text()
	b := make([]byte, 0, 2*len(text)+4096)
	b = m.appendHeader(b)
	switch m.Shape {
	case Alternative:
		return m.appendAlternative(b, text)
	case WithInline, WithFiles, WithMessage:
		return m.appendMixed(b, text)
	}
	return m.appendPlain(b, text)
}

// Text is the mail's text as UTF-8. An edit gives other text; everything else of the mail stays.
func (m Mail) Text() string {
	r := m.Key.stream("text", m.Key.Version)
	text := appendProse(nil, r, m.Length, crlf)
	text = append(text, crlf...)
	switch m.Shape {
	case Plain8Bit, PlainQuoted, PlainLatin1, Alternative:
		text = append(text, "Viele Grüße, à bientôt, señor!"+crlf...)
	case PlainKOI8:
		text = append(text, "С уважением, до встречи."+crlf...)
	case PlainJapanese:
		text = append(text, "よろしくお願いします。"+crlf...)
	}
	if m.Shape == Plain8Bit {
		text = append(text, "naïve ✓ 👋 – “quoted”"+crlf...)
	}
	return string(text)
}

func (m Mail) appendHeader(b []byte) []byte {
	r := m.Key.stream("header", 0)
	date := m.Sent.Format("Mon, 02 Jan 2006 15:04:05 -0700")
	b = fmt.Appendf(b, "Received: from mx%d.mail.example (10.0.%d.%d) by in.mail.example%s\twith ESMTPS id %010x;%s\t%s%s",
		r.IntN(5), r.IntN(256), r.IntN(256), crlf, r.Uint64()>>24, crlf, date, crlf)
	b = appendField(b, "From", formatAddress(m.From))
	to := make([]string, len(m.To))
	for i, a := range m.To {
		to[i] = formatAddress(a)
	}
	b = appendField(b, "To", strings.Join(to, ","+crlf+"\t"))
	if m.Subject != "" {
		b = appendField(b, "Subject", foldWords(mime.QEncoding.Encode("utf-8", m.Subject)))
	}
	b = appendField(b, "Date", date)
	b = appendField(b, "Message-ID", "<"+m.MessageID+">")
	return appendField(b, "MIME-Version", "1.0")
}

func appendField(b []byte, name, value string) []byte {
	return append(append(append(append(b, name...), ": "...), value...), crlf...)
}

func formatAddress(a Address) string {
	return mime.QEncoding.Encode("utf-8", a.Name) + " <" + a.Mail + ">"
}

// foldWords breaks a long unstructured header at spaces (RFC 5322, section 2.2.3).
func foldWords(s string) string {
	var out strings.Builder
	column := 0
	for i, w := range strings.Split(s, " ") {
		if i > 0 && column+len(w) > lineWidth {
			out.WriteString(crlf)
			column = 0
		}
		if i > 0 {
			out.WriteByte(' ')
		}
		out.WriteString(w)
		column += len(w) + 1
	}
	return out.String()
}

func (m Mail) appendPlain(b []byte, text string) []byte {
	switch m.Shape {
	case Plain7Bit:
		return appendBody(b, "text/plain; charset=us-ascii; format=flowed", "7bit", []byte(text))
	case Plain8Bit:
		return appendBody(b, "text/plain; charset=utf-8", "8bit", []byte(text))
	case PlainLatin1:
		latin, _ := charmap.ISO8859_1.NewEncoder().String(text) // Text keeps within the charset; the test decodes every shape
		return appendBody(b, "text/plain; charset=iso-8859-1", "8bit", []byte(latin))
	case PlainKOI8:
		koi, _ := charmap.KOI8R.NewEncoder().String(text)
		return appendBody(b, "text/plain; charset=koi8-r", "base64", []byte(koi))
	case PlainJapanese:
		jis, _ := japanese.ISO2022JP.NewEncoder().String(text)
		return appendBody(b, "text/plain; charset=iso-2022-jp", "7bit", []byte(jis))
	}
	return appendBody(b, "text/plain; charset=utf-8", "quoted-printable", []byte(text))
}

func (m Mail) appendAlternative(b []byte, text string) []byte {
	mark := m.boundary(0)
	b = appendField(b, "Content-Type", `multipart/alternative; boundary="`+mark+`"`)
	b = append(b, crlf...)
	b = appendBoundary(b, mark)
	b = appendBody(b, "text/plain; charset=utf-8", "quoted-printable", []byte(text))
	b = appendBoundary(b, mark)
	b = appendBody(b, "text/html; charset=utf-8", "quoted-printable", []byte(html(text, "")))
	return appendEnd(b, mark)
}

// appendMixed writes the text and the parts; an inline image stands with its HTML in multipart/related (RFC 2387).
func (m Mail) appendMixed(b []byte, text string) []byte {
	mark, kind := m.boundary(0), "mixed"
	body, contentType := text, "text/plain; charset=utf-8"
	if m.Shape == WithInline {
		kind, contentType = "related", "text/html; charset=utf-8"
		body = html(text, m.Parts[0].ContentID)
	}
	b = appendField(b, "Content-Type", "multipart/"+kind+`; boundary="`+mark+`"`)
	b = append(b, crlf+"This is a message with several parts."+crlf...)
	b = appendBoundary(b, mark)
	b = appendBody(b, contentType, "quoted-printable", []byte(body))
	for i, p := range m.Parts {
		b = appendBoundary(b, mark)
		b = m.appendPart(b, i, p)
	}
	return appendEnd(b, mark)
}

func (m Mail) appendPart(b []byte, i int, p Part) []byte {
	disposition := "attachment"
	if p.ContentID != "" {
		disposition = "inline"
		b = appendField(b, "Content-ID", "<"+p.ContentID+">")
	}
	b = appendField(b, "Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": p.Name}))
	if p.ContentType == "message/rfc822" {
		return appendBody(b, p.ContentType, "7bit", m.PartBytes(i))
	}
	return appendBody(b, p.ContentType, "base64", m.PartBytes(i))
}

// PartBytes makes the i-th part's bytes, decoded.
func (m Mail) PartBytes(i int) []byte {
	r := m.Key.stream(fmt.Sprint("part", i), 0)
	p := m.Parts[i]
	if p.ContentType == "message/rfc822" {
		head := "From: Somebody <somebody@mail.example>" + crlf + "Subject: " + phrase(r, 4) + crlf +
			"Content-Type: text/plain; charset=us-ascii" + crlf + crlf
		return append(appendProse([]byte(head), r, p.Size, crlf), crlf...)
	}
	if p.Size == 0 {
		return nil
	}
	b := []byte(magic[p.ContentType])
	if strings.HasPrefix(p.ContentType, "text/") {
		b = appendProse(b, r, p.Size, "\n")
	} else {
		b = appendNoise(b, r, p.Size)
	}
	return b[:p.Size]
}

// magic is how files of a type begin.
var magic = map[string]string{
	"application/pdf": "%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
	"image/png":       "\x89PNG\r\n\x1a\n",
	"image/jpeg":      "\xff\xd8\xff\xe0\x00\x10JFIF\x00",
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document": "PK\x03\x04\x14\x00\x06\x00",
}

func (m Mail) boundary(level int) string {
	r := m.Key.stream("boundary", level)
	return fmt.Sprintf("=_Part_%d_%016x", level, r.Uint64())
}

func appendBoundary(b []byte, mark string) []byte {
	return append(append(append(b, "--"...), mark...), crlf...)
}

func appendEnd(b []byte, mark string) []byte {
	return append(append(append(b, "--"...), mark...), "--"+crlf...)
}

// appendBody writes the content fields and the encoded body, ending with a line end.
func appendBody(b []byte, contentType, encoding string, body []byte) []byte {
	b = appendField(b, "Content-Type", contentType)
	b = appendField(b, "Content-Transfer-Encoding", encoding)
	b = append(b, crlf...)
	switch encoding {
	case "base64":
		return appendBase64(b, body)
	case "quoted-printable":
		var q bytes.Buffer
		w := quotedprintable.NewWriter(&q)
		w.Write(body)
		w.Close()
		return append(append(b, q.Bytes()...), crlf...)
	}
	return append(append(b, body...), crlf...)
}

// appendBase64 writes lines of 76 characters (RFC 2045, section 6.8).
func appendBase64(b, body []byte) []byte {
	const perLine = 57
	for len(body) > 0 {
		n := min(perLine, len(body))
		b = base64.StdEncoding.AppendEncode(b, body[:n])
		b = append(b, crlf...)
		body = body[n:]
	}
	return b
}

// html wraps text, with an image when cid is set.
func html(text, cid string) string {
	escaped := strings.NewReplacer("&", "&amp;", "<", "&lt;", crlf+crlf, "</p>"+crlf+"<p>").Replace(text)
	image := ""
	if cid != "" {
		image = `<img src="cid:` + cid + `" alt="logo">`
	}
	return "<html><body>" + image + "<p>" + escaped + "</p></body></html>" + crlf
}
