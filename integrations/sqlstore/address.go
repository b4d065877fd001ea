package sqlstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	defaultConnections = 16
	// leastConnections: one holds the lock of the migrations while another makes them, and one reads.
	leastConnections = 4
	mostConnections  = 500
	connectTimeout   = 15 * time.Second
	maxPassword      = 4096 // bytes
)

// postgresAddress is a dsn that was understood.
type postgresAddress struct {
	url          url.URL // for the driver
	passwordFile string
	connections  int
}

func isPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

const postgresForm = "give it as postgres://user@host:port/database"

// parsePostgres understands a dsn. The driver would take any setting and look several up in its own ways; only what is meant for an
// administrator passes here.
func parsePostgres(dsn string) (a postgresAddress, err error) {
	u, err := url.Parse(dsn)
	if err != nil {
		// The driver's and the parser's errors show the dsn.
		return a, badConfig("the store's address is not understood", postgresForm, nil)
	}
	if _, has := u.User.Password(); has {
		return a, badConfig("the store's address has a password in it, which others can see in the list of processes",
			"take it out, and name a file that has it: ?passwordFile=/absolute/path (or use PGPASSFILE)", nil)
	}
	query, err := url.ParseQuery(u.RawQuery)
	// The driver takes several hosts with commas between them; whether they are on this machine is asked of one only.
	if err != nil || u.User.Username() == "" || strings.Trim(u.Path, "/") == "" || u.Fragment != "" ||
		strings.Contains(u.Host+query.Get("host"), ",") || (u.Host == "") == (query.Get("host") == "") {
		return a, badConfig("the store's address is not understood", postgresForm, nil)
	}
	a = postgresAddress{url: *u, connections: defaultConnections}
	if err := a.takeSettings(query); err != nil {
		return a, err
	}
	return a, a.decideTLS(query)
}

// takeSettings takes out of the query what is not for the driver, and refuses what is not known.
func (a *postgresAddress) takeSettings(query url.Values) error {
	for name, values := range query {
		value := values[0]
		switch {
		case len(values) != 1:
			return badConfig("the store's address has "+strconv.Quote(name)+" more than once", "give each setting once", nil)
		case name == "sslmode" || name == "port":
		case name == "connections":
			n, err := strconv.Atoi(value)
			if err != nil || n < leastConnections || n > mostConnections {
				return badConfig("the store's address has a wrong number of connections", fmt.Sprintf("give a number from %d to %d", leastConnections, mostConnections), nil)
			}
			a.connections = n
		case name == "passwordFile" || name == "sslrootcert" || name == "sslcert" || name == "sslkey" || name == "host":
			if !filepath.IsAbs(value) {
				return badConfig("the store's address has a "+name+" that is no absolute path", "give "+name+"=/absolute/path", nil)
			}
		default:
			return badConfig("the store's address has an unknown setting", "it takes sslmode, sslrootcert, sslcert, sslkey, passwordFile, host, port and connections", nil)
		}
	}
	a.passwordFile = query.Get("passwordFile")
	query.Del("passwordFile")
	query.Del("connections")
	return nil
}

// decideTLS: what leaves the machine is encrypted to a server whose name was verified. The other modes of libpq give in to whoever
// sits in between (https://www.postgresql.org/docs/15/libpq-ssl.html#LIBPQ-SSL-PROTECTION).
func (a *postgresAddress) decideTLS(query url.Values) error {
	local := a.local(query.Get("host"))
	mode := query.Get("sslmode")
	switch {
	case mode == "" && local:
		mode = "disable"
	case mode == "":
		mode = "verify-full"
	case mode != "verify-full" && mode != "disable":
		return badConfig("the store's sslmode must be verify-full", "other modes do not prove who the server is; name its CA by sslrootcert=/absolute/path", nil)
	case mode == "disable" && !local:
		return badConfig("the store's sslmode must be verify-full: its server is on another machine",
			"take sslmode=disable out; when the server has a CA of its own, name it by sslrootcert=/absolute/path", nil)
	}
	query.Set("sslmode", mode)
	a.url.RawQuery = query.Encode()
	return nil
}

// local tells that the way to the server does not leave this machine.
func (a *postgresAddress) local(socket string) bool {
	if socket != "" {
		return true
	}
	host := a.url.Hostname()
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// config is the driver's, which also looks at the environment as libpq does, for what the address does not say.
func (a postgresAddress) config() (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(a.url.String())
	if err != nil {
		return nil, badConfig("the store's address does not work", "look at the port, and at the files that sslrootcert, sslcert and sslkey name (or PGSSLROOTCERT, PGSSLCERT, PGSSLKEY, PGPASSFILE)", nil)
	}
	config.ConnectTimeout = connectTimeout
	config.RuntimeParams["application_name"] = "holdfast"
	// A server that lost its power says nothing: it is taken for gone after a minute.
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
	config.DialFunc = dialer.DialContext
	return config, a.readPassword(&config.Config)
}

// readPassword reads the password's file, for each connection anew, so that the password can be changed while the store is open.
func (a postgresAddress) readPassword(config *pgconn.Config) error {
	if a.passwordFile == "" {
		return nil
	}
	f, err := os.Open(a.passwordFile)
	if err != nil {
		return badConfig("the file of the store's password cannot be read", "passwordFile must name a file that this user may read", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return badConfig("the file of the store's password is open to others", "make it readable by its owner only: chmod 600 "+a.passwordFile, err)
	}
	password, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	password = bytes.TrimRight(password, "\r\n")
	if err == nil && (len(password) == 0 || len(password) > maxPassword || bytes.ContainsAny(password, "\x00\r\n")) {
		err = errors.New("it must hold one line")
	}
	if err != nil {
		return badConfig("the file of the store's password cannot be used", "write the password alone into it, as one line", err)
	}
	config.Password = string(password)
	return nil
}
