package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/holdfast-backup/holdfast/internal/sandbox/keyserver"
)

// newDecrypter calls the server's decryption with nothing around it: the limit of the Vault's way.
func newDecrypter(server *keyserver.Server, key string, in map[string]string) (func(context.Context) error, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(server.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 16, ForceAttemptHTTP2: true}}
	return func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPut, server.Address+"/v1/transit/decrypt/"+key, bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("X-Vault-Token", server.RootToken)
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, answer.Body)
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("decrypt: %s", answer.Status)
		}
		return err
	}, nil
}
