package graph

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// answerWriter holds an answer back until its handler is done, so that no mailbox or drive stays locked while a client is slow
// to read. Contents of messages are not held back: their handlers hold no lock.
type answerWriter struct {
	http.ResponseWriter
	streams bool
	status  int
	body    bytes.Buffer
}

func (a *answerWriter) WriteHeader(status int) {
	if a.streams {
		a.ResponseWriter.WriteHeader(status)
		return
	}
	a.status = status
}

func (a *answerWriter) Write(p []byte) (int, error) {
	if a.streams {
		return a.ResponseWriter.Write(p)
	}
	return a.body.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answerWriter) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// minCompressed is the length from which an answer is worth compressing, in bytes.
const minCompressed = 1 << 10

// send writes what was held back, compressed for clients that take it.
func (a *answerWriter) send(r *http.Request) {
	if a.streams {
		return
	}
	compress := a.body.Len() >= minCompressed && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
	if compress {
		a.Header().Set("Content-Encoding", "gzip")
		a.Header().Set("Vary", "Accept-Encoding")
	}
	if a.status != 0 {
		a.ResponseWriter.WriteHeader(a.status)
	}
	if !compress {
		a.ResponseWriter.Write(a.body.Bytes())
		return
	}
	z := compressors.Get().(*gzip.Writer)
	defer compressors.Put(z)
	z.Reset(a.ResponseWriter)
	z.Write(a.body.Bytes())
	z.Close()
}

// cut sends half of what was held back and breaks the connection. It does not return.
func (a *answerWriter) cut() {
	a.Header().Set("Content-Length", fmt.Sprint(a.body.Len()))
	if a.status != 0 {
		a.ResponseWriter.WriteHeader(a.status)
	}
	a.ResponseWriter.Write(a.body.Bytes()[:a.body.Len()/2])
	http.NewResponseController(a.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// compressors are kept because each is most of a megabyte.
var compressors = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return z
}}
