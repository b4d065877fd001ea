package content

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Address is a mailbox as a mail's header names it.
type Address struct{ Name, Mail string }

// Mail is what is known of a mail before its bytes are made.
type Mail struct {
	Key       Key
	Subject   string
	From      Address
	To        []Address
	Sent      time.Time
	MessageID string // without angle brackets
	Shape     Shape
	// Parts are what the mail carries beside its text.
	Parts []Part
	// Length is how many bytes of text it has, before transfer encoding.
	Length int
}

// Shape is how a mail's text is written. The shapes are those that backups and mail readers stumble over.
type Shape string

const (
	Plain7Bit     Shape = "plain-7bit"
	Plain8Bit     Shape = "plain-8bit" // UTF-8 as it is
	PlainQuoted   Shape = "plain-quoted-printable"
	PlainLatin1   Shape = "plain-iso-8859-1"
	PlainKOI8     Shape = "plain-koi8-r-base64"
	PlainJapanese Shape = "plain-iso-2022-jp"
	Alternative   Shape = "text-and-html"
	WithInline    Shape = "html-with-inline-image"
	WithFiles     Shape = "files"
	WithMessage   Shape = "forwarded-message"
)

// shapes are drawn from; a shape that stands twice is twice as frequent.
var shapes = []Shape{
	Plain7Bit, Plain7Bit, Plain8Bit, PlainQuoted, PlainQuoted, PlainLatin1, PlainKOI8, PlainJapanese,
	Alternative, Alternative, Alternative, Alternative, WithInline, WithFiles, WithFiles, WithMessage,
}

// Part is an attachment or an inline image.
type Part struct {
	Name        string
	ContentType string
	ContentID   string // set for inline images
	Size        int    // bytes, before transfer encoding; may be 0
}

// firstDay is when the oldest mail of a sandbox was sent; nothing depends on the clock of the day.
var firstDay = time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)

// NewMail decides everything about a mail but its bytes. people are whom it may be from or to; the first is the mailbox's owner.
func NewMail(k Key, people []Address) Mail {
	r := k.stream("mail", 0)
	owner, other := people[0], people[r.IntN(len(people))]
	m := Mail{
		Key: k, From: other, To: []Address{owner},
		Sent:      firstDay.Add(time.Duration(r.IntN(240*24*3600)) * time.Second),
		MessageID: fmt.Sprintf("%016x.%08x@mail.example", r.Uint64(), r.Uint32()),
		Shape:     shapes[r.IntN(len(shapes))],
		Length:    between(r, 1_400, 90_000),
	}
	for range r.IntN(3) {
		m.To = append(m.To, people[r.IntN(len(people))])
	}
	m.Subject = subject(r)
	m.Parts = parts(r, m.Shape)
	return m
}

// between draws a size whose logarithm is even, pressed towards the small end, as sizes of mail and files are.
func between(r *rand.Rand, low, high int) int {
	x := r.Float64()
	return int(float64(low) * math.Exp(x*math.Sqrt(x)*math.Log(float64(high)/float64(low))))
}

// subject draws a subject; one in four is of the kind that breaks programs.
func subject(r *rand.Rand) string {
	text := phrase(r, 2+r.IntN(6))
	switch r.IntN(16) {
	case 0:
		return "🎉 " + text + " 🚀👩‍💻"
	case 1:
		return "تقرير الأسبوع: " + text
	case 2:
		return "פגישה מחר \u200f(" + text + ")"
	case 3:
		return "Größe & Maß für " + text
	case 4:
		return "" // no subject at all
	case 5:
		return "../../etc/" + text + " <b>&amp;</b> 100%"
	case 6:
		return text + " " + phrase(r, 30) // folded over several lines
	case 7:
		return "Re: Re: Fwd: " + text
	}
	return text
}

// parts draws what a mail of the shape carries.
func parts(r *rand.Rand, s Shape) []Part {
	switch s {
	case WithInline:
		return []Part{{Name: "logo.png", ContentType: "image/png", ContentID: fmt.Sprintf("img%08x@mail.example", r.Uint32()), Size: between(r, 600, 40_000)}}
	case WithMessage:
		return []Part{{Name: "Forwarded message.eml", ContentType: "message/rfc822", Size: between(r, 500, 6_000)}}
	case WithFiles:
		list := make([]Part, 1+r.IntN(3))
		for i := range list {
			list[i] = filePart(r)
		}
		return list
	}
	return nil
}

func filePart(r *rand.Rand) Part {
	p := Part{Size: between(r, 300, 80_000)}
	switch r.IntN(6) {
	case 0:
		p.Name, p.ContentType = "offer "+phrase(r, 2)+".pdf", "application/pdf"
	case 1:
		p.Name, p.ContentType = "numbers.csv", "text/csv"
	case 2:
		p.Name, p.ContentType = "Übersicht – "+phrase(r, 1)+".docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	case 3:
		p.Name, p.ContentType, p.Size = "empty.txt", "text/plain", 0
	case 4:
		p.Name, p.ContentType = "写真.jpg", "image/jpeg"
	default:
		p.Name, p.ContentType = phrase(r, 1)+".bin", "application/octet-stream"
	}
	return p
}
