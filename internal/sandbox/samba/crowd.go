package samba

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
)

// The crowd's unit, and the group in it of which all of them are members. They are contacts, named c0, c1 and so on.
const (
	CrowdUnit  = "OU=crowd," + BaseDN
	CrowdGroup = "CN=crowd," + CrowdUnit
)

// newCrowd fills a directory that is stopped, by a hundred in a transaction and without waiting for the disk: 1 ms each, where LDAP
// takes 13 to 30.
const newCrowd = `
import sys
from samba.samdb import SamDB
from samba.param import LoadParm
from samba.auth import system_session
lp = LoadParm()
lp.load(sys.argv[1] + "/etc/smb.conf")
db = SamDB(url=sys.argv[1] + "/private/sam.ldb", lp=lp, session_info=system_session(lp), options=["nosync:1"])
unit, group, count = sys.argv[2], sys.argv[3], int(sys.argv[4])
db.add({"dn": unit, "objectClass": "organizationalUnit"})
members = ["CN=c%d,%s" % (i, unit) for i in range(count)]
for first in range(0, count, 100):
    db.transaction_start()
    for i, dn in enumerate(members[first:first + 100], first):
        db.add({"dn": dn, "objectClass": "contact", "mail": "c%d@corp.example.test" % i})
    db.transaction_commit()
db.add({"dn": group, "objectClass": "group", "sAMAccountName": "crowd", "member": members})
`

func (s *Server) fill(ctx context.Context) error {
	if s.options.Crowd == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// Debian's own Python; see becomeAnother.
	out, err := exec.CommandContext(ctx, "/usr/bin/python3", "-c", newCrowd, s.domain(), CrowdUnit, CrowdGroup, strconv.Itoa(s.options.Crowd)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("a crowd: %w: %s", err, lastLines(out))
	}
	return nil
}
