// Package postgres starts a real PostgreSQL on loopback, for tests and benches: durable as an administrator would leave it, with
// passwords (SCRAM), and with TLS when it is given a CA.
//
// Everything it needs lives in one temporary folder that goes away with it. The programs are Debian's package postgresql;
// scripts/install-test-servers.sh installs it. PostgreSQL refuses to run as root, so that root's runs as "postgres" or "nobody".
package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

const (
	startTimeout = 60 * time.Second // after a crash it reads its log again first
	stopTimeout  = 20 * time.Second // after being asked to stop, then it is killed
	loopback     = "127.0.0.1"
	superuser    = "postgres"
	// User is the login that databases of CreateDatabase belong to.
	User = "holdfast"
)

// Options describe the server.
type Options struct {
	// CA issues the certificate for 127.0.0.1 and localhost; nil: no TLS.
	CA *sandbox.CA
	// Settings are of postgresql.conf.
	Settings map[string]string
}

// Server is a PostgreSQL that runs.
type Server struct {
	// Address is host:port.
	Address string
	// PasswordFile has the password of User, readable by the owner of this process only. CAFile is empty without TLS.
	PasswordFile, CAFile string
	// Socket is the folder of the Unix socket.
	Socket string

	folder   string
	password string
	settings []string // of the command line
	account  *account
	programs string // the folder they are in
	running  *process
}

// Start makes a cluster and starts it. It runs until Close; when this process ends without it, it ends too, but leaves its folder.
func Start(ctx context.Context, o Options) (*Server, error) {
	programs, err := findPrograms()
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "holdfast-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Server{folder: folder, programs: programs, account: as, password: rand.Text(),
		Socket: filepath.Join(folder, "socket"), PasswordFile: filepath.Join(folder, "password")}
	if err := s.begin(ctx, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) begin(ctx context.Context, o Options) error {
	if err := s.layOut(o); err != nil {
		return err
	}
	if err := s.initialise(ctx); err != nil {
		return err
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	// The password is of letters and digits alone.
	return s.Exec(ctx, `CREATE ROLE `+User+` LOGIN PASSWORD '`+s.password+`'`)
}

// listen starts the server on a free port. One that was free a moment ago may be taken meanwhile: then it tries others.
func (s *Server) listen(ctx context.Context) (err error) {
	for range 3 {
		if s.Address, err = freeAddress(); err != nil {
			return err
		}
		if err = s.Restart(ctx); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// Restart starts the server, on its address, after Kill.
func (s *Server) Restart(ctx context.Context) error {
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return err
	}
	if s.running, err = s.launch(append([]string{"-D", s.data(), "-p", port}, s.settings...)); err != nil {
		return err
	}
	if err := s.awaitReady(ctx); err != nil {
		return errors.Join(err, s.running.end(immediately))
	}
	return nil
}

// Kill ends the server as a crash does: nobody is told, and it recovers from its log when it is started again.
func (s *Server) Kill() error { return s.running.end(immediately) }

// Close stops the server and removes its folder.
func (s *Server) Close() error {
	var err error
	if s.running != nil {
		err = s.running.end(politely)
	}
	return errors.Join(err, os.RemoveAll(s.folder))
}

// URL is the address of a database as Holdfast takes it.
func (s *Server) URL(database string) string {
	query := url.Values{"passwordFile": {s.PasswordFile}}
	if s.CAFile != "" {
		query.Set("sslmode", "verify-full")
		query.Set("sslrootcert", s.CAFile)
	}
	return (&url.URL{Scheme: "postgres", User: url.User(User), Host: s.Address, Path: "/" + database, RawQuery: query.Encode()}).String()
}

// SocketURL is the same by the Unix socket.
func (s *Server) SocketURL(database string) string {
	query := url.Values{"passwordFile": {s.PasswordFile}, "host": {s.Socket}}
	_, port, _ := net.SplitHostPort(s.Address)
	query.Set("port", port)
	return (&url.URL{Scheme: "postgres", User: url.User(User), Path: "/" + database, RawQuery: query.Encode()}).String()
}

// CreateDatabase makes a database in UTF-8 that belongs to User: a copy of template, to which nobody may be connected, or an empty one.
func (s *Server) CreateDatabase(ctx context.Context, name, template string) error {
	if template == "" {
		template = "template0"
	}
	return s.Exec(ctx, `CREATE DATABASE `+pgx.Identifier{name}.Sanitize()+` OWNER `+User+` ENCODING 'UTF8' TEMPLATE `+pgx.Identifier{template}.Sanitize())
}

// DropDatabase removes a database and whoever is connected to it.
func (s *Server) DropDatabase(ctx context.Context, name string) error {
	return s.Exec(ctx, `DROP DATABASE IF EXISTS `+pgx.Identifier{name}.Sanitize()+` WITH (FORCE)`)
}

// Exec runs a statement as the superuser, in his own database.
func (s *Server) Exec(ctx context.Context, statement string) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, statement)
	return errors.Join(err, c.Close(ctx))
}

func (s *Server) connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("sslmode=disable user=" + superuser + " dbname=postgres host=" + s.Socket)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	config.Port, config.Password = uint16(number), s.password
	return pgx.ConnectConfig(ctx, config)
}

func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		c, err := s.connect(ctx)
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-s.running.done:
			return fmt.Errorf("PostgreSQL ended at once: %s", s.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
