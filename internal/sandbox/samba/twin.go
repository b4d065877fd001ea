package samba

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// newInvocation gives a stopped directory another invocationId, which is what makes it another server to those who follow its
// changes ([MS-ADTS] 3.1.1.1.9). It is Python because Samba's own database is only to be had in it and in C.
const newInvocation = `
import sys, uuid, ldb
from samba.samdb import SamDB
from samba.param import LoadParm
from samba.auth import system_session
from samba.ndr import ndr_pack
from samba.dcerpc import misc
lp = LoadParm()
lp.load(sys.argv[1] + "/etc/smb.conf")
db = SamDB(url=sys.argv[1] + "/private/sam.ldb", lp=lp, session_info=system_session(lp))
m = ldb.Message(ldb.Dn(db, db.get_dsServiceName()))
m["invocationId"] = ldb.MessageElement(ndr_pack(misc.GUID(str(uuid.uuid4()))), ldb.FLAG_MOD_REPLACE, "invocationId")
db.modify(m, controls=["relax:0"])
`

// Twin makes a second controller of the same domain, with the same people under the same ids, at another address and with another
// invocationId. It is a copy and does not replicate: what changes in one later does not change in the other. The first one is stopped
// for as long as it is copied.
func (s *Server) Twin(ctx context.Context) (*Server, error) {
	twin, err := newServer(s.options)
	if err != nil {
		return nil, err
	}
	s.end()
	err = copyDomain(twin.domain(), s.domain())
	if err = errors.Join(err, s.run(ctx)); err == nil {
		err = twin.becomeAnother(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(twin.folder))
	}
	return twin.started(ctx)
}

func (s *Server) becomeAnother(ctx context.Context) error {
	// Debian's own Python, for which python3-samba is installed; another may stand before it on the path.
	out, err := exec.CommandContext(ctx, "/usr/bin/python3", "-c", newInvocation, s.domain()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("a new invocationId: %w: %s", err, lastLines(out))
	}
	return nil
}

// copyDomain copies the files of a directory that is stopped, not its sockets, and turns the paths in smb.conf to the copy.
func copyDomain(to, from string) error {
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, inside), info.Mode().Perm())
		case e.Type().IsRegular():
			return copyFile(filepath.Join(to, inside), path, info.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		return err
	}
	config := filepath.Join(to, "etc", "smb.conf")
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	return os.WriteFile(config, bytes.ReplaceAll(text, []byte(from), []byte(to)), 0o600)
}

func copyFile(to, from string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
