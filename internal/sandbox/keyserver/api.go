package keyserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// api is the little of the server's HTTP API that starting it takes, written apart from the client library that the product uses.
type api struct {
	address string
	http    *http.Client
}

func newAPI(address, caFile string) (api, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return api{}, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return api{}, errors.New("the key server's CA file holds no certificate")
	}
	// Connections are not kept: a restart in between would otherwise be met by the next call.
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	return api{address, &http.Client{Transport: transport, Timeout: 20 * time.Second}}, nil
}

// Put writes to a path of the API below /v1/ as root, and decodes the answer's data into out unless that is nil.
func (s *Server) Put(ctx context.Context, path string, in, out any) error {
	var answer struct {
		Data json.RawMessage `json:"data"`
		Auth json.RawMessage `json:"auth"`
	}
	if err := s.api.put(ctx, path, s.RootToken, in, &answer); err != nil || out == nil {
		return err
	}
	if len(answer.Auth) > 4 { // more than "null": a login or a new token
		return json.Unmarshal(answer.Auth, out)
	}
	return json.Unmarshal(answer.Data, out)
}

// put sends one call. The error holds the server's own message, which names no secret.
func (a api) put(ctx context.Context, path, token string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, a.address+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", token)
	status, answer, err := a.do(req)
	if err != nil {
		return err
	}
	if status/100 != 2 {
		return fmt.Errorf("%s: %d %s", path, status, bytes.TrimSpace(answer))
	}
	if out == nil || status == http.StatusNoContent {
		return nil
	}
	return json.Unmarshal(answer, out)
}

func (a api) health(ctx context.Context) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.address+"/v1/sys/health", nil)
	if err != nil {
		return 0, err
	}
	status, _, err = a.do(req)
	return status, err
}

func (a api) do(req *http.Request) (status int, body []byte, err error) {
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, body, err
}
