package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/ldap"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
)

// job is one import, as the bench describes it to a child.
type job struct {
	URL, CAFile, Store, Pass string
	// Full lists everybody, whatever the cursor.
	Full bool
}

// taken is what one import took: seconds, and megabytes of resident memory.
type taken struct {
	Read    float64 `json:"read"`
	Compare float64 `json:"compare"`
	Apply   float64 `json:"apply"`
	Peak    float64 `json:"peakMB"`
	Idle    float64 `json:"idleMB"` // with the store and the directory open
	Listed  int     `json:"listed"`
	How     string  `json:"how"`
}

func (t taken) whole() float64 { return t.Read + t.Compare + t.Apply }

// dumped are the twelve attributes that both sides ask for: what an import reads by itself, and four more that rules of profiles name.
var dumped = []string{"entryUUID", "mail", "displayName", "cn", "employeeNumber", "departmentNumber", "pwdAccountLockedTime", "shadowExpire",
	"uid", "sn", "givenName", "title"}

func tenant(j job) backup.Tenant {
	dir := backup.DirectoryConfig{Name: "ldap", Kind: backup.LDAP, LDAP: &backup.LDAPConfig{URL: j.URL, CAFile: j.CAFile, BindDN: ldapserver.DefaultBindDN,
		BindPassword: "env:BENCH_LDAP_PASSWORD", BaseDN: ldapserver.DefaultBaseDN, Filter: "(objectClass=inetOrgPerson)", PageSize: 1000}}
	rule := backup.ProfileRule{Name: "nobody", When: backup.ProfileCondition{Attributes: map[string][]string{"uid": {"-"}, "sn": {"-"}, "givenName": {"-"}, "title": {"-"}}}}
	return backup.Tenant{ID: "acme", Directories: []backup.DirectoryConfig{dir}, Profiles: []backup.ProfileRule{rule}}
}

// importOnce makes the calls of activities.Importing, in its order.
func importOnce(description string) error {
	var j job
	if err := json.Unmarshal([]byte(description), &j); err != nil {
		return err
	}
	ctx, t := context.Background(), tenant(j)
	store, err := sqlstore.Open(ctx, j.Store)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.SaveTenant(ctx, t); err != nil {
		return err
	}
	secrets := func(context.Context, backup.SecretRef) ([]byte, error) {
		return []byte(os.Getenv("BENCH_LDAP_PASSWORD")), nil
	}
	dir, err := ldap.New(secrets).OpenDirectory(ctx, t, t.Directories[0])
	if err != nil {
		return err
	}
	defer dir.Close()
	took, err := measure(ctx, store, dir, t, j)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(took)
}

func measure(ctx context.Context, store *sqlstore.Store, dir *ldap.Directory, t backup.Tenant, j job) (took taken, err error) {
	took.Idle = resident("VmRSS:")
	pass := backup.Pass{Tenant: t.ID, Directory: "ldap", ID: j.Pass}
	began := time.Now()
	from, err := store.BeginPass(ctx, pass, backup.ImportStart{Rules: t.PeopleRules()})
	if err != nil {
		return took, err
	}
	if j.Full {
		from = backup.ReadFrom{}
	}
	staging := store.Stage(ctx, pass)
	end, err := dir.Read(ctx, from, func(page backup.EntryPage) error {
		t.Assign("ldap", page.Entries)
		return staging.Page(page)
	})
	if kept := staging.Close(); err == nil {
		err = kept
	}
	if err != nil {
		return took, err
	}
	if err := store.EndRead(ctx, pass, end); err != nil {
		return took, err
	}
	took.Read, began = time.Since(began).Seconds(), time.Now()
	difference, err := store.ComparePass(ctx, t, pass)
	if err != nil {
		return took, err
	}
	took.Compare, began = time.Since(began).Seconds(), time.Now()
	accounts, err := store.ApplyPass(ctx, t, pass, difference.Digest, "", time.Now())
	if err != nil {
		return took, err
	}
	if accounts.Active == 0 {
		return took, fmt.Errorf("nobody is protected after the import: %+v", difference.Counts)
	}
	took.Apply = time.Since(began).Seconds()
	took.Peak, took.Listed, took.How = resident("VmHWM:"), difference.Counts.Listed, string(end.Mode)
	if end.Note != "" {
		took.How += " (" + end.Note + ")"
	}
	return took, nil
}

// resident reads a line of /proc/self/status in megabytes.
func resident(name string) float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1000
		}
	}
	return 0
}
