package graph

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

// The administration endpoint is for demo and scripts. It listens on loopback only and wants AdminToken as bearer token.
// Bodies and answers are JSON; an error is {"error":"text"}. Below /sandbox/v1:
//
//	GET    /people                                     everybody in Microsoft 365
//	POST   /faults              Fault                  Inject
//	DELETE /faults[?kind=K]                            ClearFaults
//	POST   /expire              {"what": "tokens" | "mail" | "drive" | "directory" | "groups"}
//	GET    /roles               PUT {"roles": [...]}   permissions consented to
//	POST   /changes             Change                 Apply, answers {"id"}
//	POST   /mutate              {"seed", "counts"}     Mutate, answers {"done": [...]}; no counts: SomeOfEverything
//	GET    /calls               DELETE                 counters of requests
//	GET    /users/{user}/messages                      Messages
//	POST   /users/{user}/messages?folder=F             AddMessage: the body as it is, or with application/json {"path": absolute file}
//	GET    /users/{user}/messages/{id}/content         bytes
//	GET    /users/{user}/files                         Files
//	POST   /users/{user}/files?folder=F&name=N         AddFile, like AddMessage
//	GET    /users/{user}/files/{id}/content            bytes
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, serve func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serveAdmin(w, r, serve) })
	}
	const base = " /sandbox/v1"
	handle("GET"+base+"/people", s.adminPeople)
	handle("POST"+base+"/faults", s.adminInject)
	handle("DELETE"+base+"/faults", s.adminClear)
	handle("POST"+base+"/expire", s.adminExpire)
	handle("GET"+base+"/roles", func(*http.Request) (any, error) { return object{"roles": s.Roles()}, nil })
	handle("PUT"+base+"/roles", s.adminRoles)
	handle("POST"+base+"/changes", s.adminChange)
	handle("POST"+base+"/mutate", s.adminMutate)
	handle("GET"+base+"/calls", s.adminCalls)
	handle("DELETE"+base+"/calls", func(*http.Request) (any, error) { s.ResetCalls(); return object{}, nil })
	handle("GET"+base+"/users/{user}/messages", s.adminMessages)
	handle("POST"+base+"/users/{user}/messages", s.adminAddMessage)
	handle("GET"+base+"/users/{user}/messages/{id}/content", s.adminMessage)
	handle("GET"+base+"/users/{user}/files", s.adminFiles)
	handle("POST"+base+"/users/{user}/files", s.adminAddFile)
	handle("GET"+base+"/users/{user}/files/{id}/content", s.adminFile)
	return mux
}

// serveAdmin checks the token and renders what serve gives: a reader as bytes, anything else as JSON.
func (s *Server) serveAdmin(w http.ResponseWriter, r *http.Request, serve func(*http.Request) (any, error)) {
	if subtle.ConstantTimeCompare([]byte(bearer(r)), []byte(s.opt.AdminToken)) != 1 {
		writeJSON(w, http.StatusUnauthorized, object{"error": "the administration token is missing or wrong"})
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxRaw)
	out, err := serve(r)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, object{"error": err.Error()})
		return
	}
	content, ok := out.(io.Reader)
	if !ok {
		writeJSON(w, http.StatusOK, out)
		return
	}
	if closer, ok := out.(io.Closer); ok {
		defer closer.Close()
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	io.Copy(w, content)
}

// maxAdminBody bounds a JSON body, in bytes.
const maxAdminBody = 1 << 20

// readBody reads a JSON body strictly, so that a misspelt field is an error and not a silent default.
func readBody[T any](r *http.Request) (v T, err error) {
	d := json.NewDecoder(io.LimitReader(r.Body, maxAdminBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, fmt.Errorf("the body cannot be read: %w", err)
	}
	return v, nil
}

func (s *Server) adminPeople(*http.Request) (any, error) {
	list := make([]object, 0, len(s.company.users))
	for _, u := range s.company.users {
		list = append(list, object{"id": u.GraphID, "upn": u.UPN, "mail": u.Mail, "name": u.DisplayName(), "mailbox": !u.NoMailbox, "disabled": u.Disabled})
	}
	return object{"people": list}, nil
}

func (s *Server) adminInject(r *http.Request) (any, error) {
	f, err := readBody[Fault](r)
	if err != nil {
		return nil, err
	}
	return object{}, s.Inject(f)
}

func (s *Server) adminClear(r *http.Request) (any, error) {
	if kind := r.URL.Query().Get("kind"); kind != "" {
		s.ClearFaults(FaultKind(kind))
	} else {
		s.ClearFaults()
	}
	return object{}, nil
}

func (s *Server) adminExpire(r *http.Request) (any, error) {
	body, err := readBody[struct{ What string }](r)
	switch {
	case err != nil:
		return nil, err
	case body.What == "tokens":
		s.ExpireTokens()
		return object{}, nil
	}
	return object{}, s.ExpireDeltas(Service(body.What))
}

func (s *Server) adminRoles(r *http.Request) (any, error) {
	body, err := readBody[struct{ Roles []string }](r)
	if err != nil {
		return nil, err
	}
	s.SetRoles(body.Roles...)
	return object{"roles": s.Roles()}, nil
}

func (s *Server) adminChange(r *http.Request) (any, error) {
	c, err := readBody[Change](r)
	if err != nil {
		return nil, err
	}
	id, err := s.Apply(c)
	return object{"id": id}, err
}

func (s *Server) adminMutate(r *http.Request) (any, error) {
	body, err := readBody[struct {
		Seed   uint64
		Counts *Counts
	}](r)
	if err != nil {
		return nil, err
	}
	if body.Counts == nil {
		some := SomeOfEverything()
		body.Counts = &some
	}
	done, err := s.Mutate(body.Seed, *body.Counts)
	return object{"done": done}, err
}

func (s *Server) adminCalls(*http.Request) (any, error) {
	byCall, total := s.Calls()
	return object{"calls": byCall, "total": total}, nil
}

func (s *Server) adminMessages(r *http.Request) (any, error) {
	list, err := s.Messages(r.PathValue("user"))
	return object{"messages": list}, err
}

func (s *Server) adminFiles(r *http.Request) (any, error) {
	list, err := s.Files(r.PathValue("user"))
	return object{"files": list}, err
}

func (s *Server) adminMessage(r *http.Request) (any, error) {
	return s.OpenMessage(r.PathValue("user"), r.PathValue("id"))
}

func (s *Server) adminFile(r *http.Request) (any, error) {
	return s.OpenFile(r.PathValue("user"), r.PathValue("id"))
}

func (s *Server) adminAddMessage(r *http.Request) (any, error) {
	raw, err := rawBody(r)
	if err != nil {
		return nil, err
	}
	id, err := s.AddMessage(r.PathValue("user"), r.URL.Query().Get("folder"), raw)
	return object{"id": id}, err
}

func (s *Server) adminAddFile(r *http.Request) (any, error) {
	raw, err := rawBody(r)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	id, err := s.AddFile(r.PathValue("user"), q.Get("folder"), q.Get("name"), raw)
	return object{"id": id}, err
}

// rawBody is the body as it is, or the file that a JSON body names.
func rawBody(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Type") != "application/json" {
		return io.ReadAll(r.Body)
	}
	body, err := readBody[struct{ Path string }](r)
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(body.Path) {
		return nil, fmt.Errorf("%q is not an absolute path", body.Path)
	}
	info, err := os.Stat(body.Path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRaw {
		return nil, fmt.Errorf("%q is not a file of at most %d bytes", body.Path, maxRaw)
	}
	return os.ReadFile(body.Path)
}
