package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/scim"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

const (
	tokenVariable = "SCIM_BENCH_TOKEN"
	scope         = "bench"
)

// side is a server that is measured.
type side struct {
	name, url, token string
	client           *http.Client
}

// startSides starts the servers, in processes of their own, with one certificate for both. The folder is below the working directory, because
// a temporary one may be in memory, where a commit costs nothing.
func startSides(ctx context.Context, peer string) (sides []*side, done func(), err error) {
	folder, err := os.MkdirTemp("build", "scimbench-")
	if err != nil {
		return nil, nil, err
	}
	var running []func()
	stop := func() {
		for _, end := range running {
			end()
		}
		os.RemoveAll(folder)
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	roots, err := certify(folder)
	if err != nil {
		return nil, nil, err
	}
	token := rand.Text()
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	commands := map[string][]string{"ours, SQLite on disk": {self, "--serve", folder}}
	names := []string{"ours, SQLite on disk"}
	if peer != "" {
		names = append(names, "SCIMMY 1.3.5, in memory")
		commands[names[1]] = []string{"node", peer, filepath.Join(folder, "server.pem"), filepath.Join(folder, "server.key"), token}
	}
	for _, name := range names {
		url, end, err := startServer(ctx, token, commands[name])
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		running = append(running, end)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 2 * clients}
		sides = append(sides, &side{name, url + scim.BasePath, token, &http.Client{Transport: transport, Timeout: time.Minute}})
	}
	return sides, stop, nil
}

// certify writes server.pem and server.key.
func certify(folder string) (*x509.CertPool, error) {
	ca, err := sandbox.NewCA("bench")
	if err != nil {
		return nil, err
	}
	return ca.Pool(), ca.WriteFiles(folder, "127.0.0.1")
}

// startServer starts a server that prints its URL and ends with its standard input.
func startServer(ctx context.Context, token string, command []string) (url string, end func(), err error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Stderr = append(os.Environ(), tokenVariable+"="+token), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	end = func() { in.Close(); _ = cmd.Wait() }
	url, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		end()
		return "", nil, errors.New("the server did not start")
	}
	return strings.TrimSpace(url), end, nil
}

// serveOurs serves a new store in the folder until standard input ends.
func serveOurs(folder string) error {
	ctx := context.Background()
	abs, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	store, err := sqlstore.Open(ctx, "sqlite://"+filepath.Join(abs, "holdfast.db"))
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.SaveTenant(ctx, backup.Tenant{ID: scope}); err != nil {
		return err
	}
	token := backup.SCIMToken{SCIMScope: backup.SCIMScope{Tenant: scope, Directory: scope}, Label: scope, Hash: scim.HashToken(os.Getenv(tokenVariable)), Created: time.Now(), By: scope}
	if err := store.AddSCIMToken(ctx, token); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: scim.NewHandler(store.SCIM(), nil, scim.Options{})}
	served := make(chan error, 1)
	go func() {
		served <- server.ServeTLS(listener, filepath.Join(folder, "server.pem"), filepath.Join(folder, "server.key"))
	}()
	fmt.Println("https://" + listener.Addr().String())
	bufio.NewReader(os.Stdin).ReadByte()
	server.Close()
	<-served
	return nil
}
