package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// account is the system's account that the server runs as; nil is our own.
type account struct{ uid, gid uint32 }

func unprivileged() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		return &account{uint32(uid), uint32(gid)}, err
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}

// attributes are of a program that runs as the account.
func (a *account) attributes() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{}
	if a != nil {
		attributes.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attributes
}

func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// findPrograms finds the folder of initdb and postgres: Debian keeps one for each version, off the PATH.
func findPrograms() (string, error) {
	folders, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.SortFunc(folders, func(a, b string) int { return majorVersion(b) - majorVersion(a) })
	for _, folder := range append(folders, filepath.SplitList(os.Getenv("PATH"))...) {
		if executable(folder, "initdb") && executable(folder, "postgres") {
			return folder, nil
		}
	}
	return "", errors.New("there is no PostgreSQL here: scripts/install-test-servers.sh installs it")
}

func majorVersion(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

func executable(folder, name string) bool {
	info, err := os.Stat(filepath.Join(folder, name))
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

// layOut makes the folders and files. Only what must be is the server's own.
func (s *Server) layOut(o Options) error {
	if err := os.Chmod(s.folder, 0o711); err != nil {
		return err
	}
	for _, folder := range []string{s.data(), s.Socket} {
		if err := errors.Join(os.Mkdir(folder, 0o700), s.account.own(folder)); err != nil {
			return err
		}
	}
	err := errors.Join(os.Chmod(s.Socket, 0o711), os.WriteFile(s.PasswordFile, []byte(s.password+"\n"), 0o600))
	if err != nil {
		return err
	}
	s.set("listen_addresses", loopback)
	s.set("unix_socket_directories", s.Socket)
	for _, name := range slices.Sorted(maps.Keys(o.Settings)) {
		s.set(name, o.Settings[name])
	}
	if o.CA == nil {
		return nil
	}
	return s.layOutTLS(o)
}

func (s *Server) layOutTLS(o Options) error {
	folder := filepath.Join(s.folder, "tls")
	if err := o.CA.WriteFiles(folder, loopback, "localhost"); err != nil {
		return err
	}
	s.CAFile = filepath.Join(folder, "ca.pem")
	certificate, key := filepath.Join(folder, "server.pem"), filepath.Join(folder, "server.key")
	s.set("ssl", "on")
	s.set("ssl_cert_file", certificate)
	s.set("ssl_key_file", key)
	return errors.Join(os.Chmod(folder, 0o755), os.Chmod(certificate, 0o644), s.account.own(key), os.Chmod(key, 0o600))
}

func (s *Server) set(name, value string) { s.settings = append(s.settings, "-c", name+"="+value) }

// initialise makes the cluster, whose superuser has the password too.
func (s *Server) initialise(ctx context.Context) error {
	file := filepath.Join(s.folder, "initial-password")
	if err := errors.Join(os.WriteFile(file, []byte(s.password+"\n"), 0o600), s.account.own(file)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.programs, "initdb"), "-D", s.data(), "-U", superuser, "--pwfile", file,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions")
	cmd.Dir, cmd.SysProcAttr = s.folder, s.account.attributes()
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("initdb: %w: %s", err, lastLines(out))
	}
	return errors.Join(err, os.Remove(file))
}

// lastLines is the end of what a program said.
func lastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}
