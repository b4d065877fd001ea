package ldap

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

const (
	maxFollowed      = 64 // references of one listing
	maxReferralDepth = 4
)

// address is a part of the directory that another server keeps.
type address struct {
	server server
	base   string // empty: that of the search
	scope  int
	filter string // empty: that of the search
}

// checkReferrals wants hosts, as they stand in addresses; an address in place of one would never fit any.
func (s *settings) checkReferrals() error {
	if len(s.Referrals) > maxFollowed {
		return badConfig(fmt.Sprintf("directory.ldap.referrals names more than %d hosts", maxFollowed), "name those that keep parts of the base")
	}
	for _, text := range s.Referrals {
		if !isHost(text) {
			return badConfig(fmt.Sprintf("directory.ldap.referrals: %q is not host or host:port", excerpt(text)), "for example ldap2.acme.example, or ldap2.acme.example:1636")
		}
	}
	return nil
}

// isHost tells whether a text is a host, alone or with a port. An IPv6 address stands in brackets when a port follows.
func isHost(text string) bool {
	if net.ParseIP(text) != nil {
		return true
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return hostName.MatchString(text)
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil && (hostName.MatchString(host) || net.ParseIP(host) != nil)
}

// hostName is a name in DNS, or an IPv4 address (RFC 1123, section 2.1; underscores do occur).
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$`)

// partitions begin the DNs of Active Directory's other naming contexts, to which it refers in every search of a domain
// ([MS-ADTS] 3.1.1.1.6). Nobody who is a person lives in them.
var partitions = []string{"cn=configuration,", "dc=domaindnszones,", "dc=forestdnszones,"}

// refer tells the references of a page apart: those that mean nothing, and those that are to be followed. Any other one is an error, because
// it stands for people who would be missing.
func (d *Directory) refer(references [][]string) (follow []address, err error) {
	for _, alternatives := range references {
		if d.kind == kindAD && slices.ContainsFunc(alternatives, meansNothing) {
			continue
		}
		i := slices.IndexFunc(alternatives, func(text string) bool { _, ok := d.allowed(text); return ok })
		if i < 0 {
			return nil, badConfig(d.settings.at("the directory says that another server keeps a part of "+d.settings.BaseDN)+": "+excerpt(strings.Join(alternatives, " ")),
				"name that server under directory.ldap.referrals so that it is read too, or choose a baseDN or directory.ldap.url that has everybody")
		}
		a, _ := d.allowed(alternatives[i])
		follow = append(follow, a)
	}
	return follow, nil
}

func meansNothing(text string) bool {
	a, err := parseAddress(text)
	return err == nil && slices.ContainsFunc(partitions, func(p string) bool { return strings.HasPrefix(canonicalDN(a.base), p) })
}

// allowed reads an address and tells whether its host is on the list. One that is named without a port stands for the usual ports.
func (d *Directory) allowed(text string) (address, bool) {
	a, err := parseAddress(text)
	if err != nil {
		return a, false
	}
	return a, slices.ContainsFunc(d.settings.Referrals, func(allowed string) bool {
		if strings.EqualFold(allowed, a.server.address) {
			return true
		}
		_, port, _ := net.SplitHostPort(a.server.address)
		return strings.EqualFold(allowed, a.server.host) && (port == "389" || port == "636" || port == "3268" || port == "3269")
	})
}

// parseAddress reads an LDAP URL (RFC 4516). ldap:// is followed with StartTLS, always.
func parseAddress(text string) (a address, err error) {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || defaultPorts[u.Scheme] == "" || !isHost(u.Hostname()) {
		return a, errMalformed
	}
	host := strings.ToLower(u.Hostname())
	a.server = server{host, net.JoinHostPort(host, cmp.Or(u.Port(), defaultPorts[u.Scheme])), u.Scheme == "ldaps"}
	a.base, a.scope = strings.TrimPrefix(u.Path, "/"), ldap.ScopeWholeSubtree
	if _, err := ldap.ParseDN(a.base); err != nil || len(a.base) > maxDN {
		return a, errMalformed
	}
	parts := strings.SplitN(u.RawQuery, "?", 4) // attributes?scope?filter?extensions
	if len(parts) > 3 && strings.Contains(parts[3], "!") {
		return a, errMalformed // a critical extension, and we know none
	}
	if len(parts) > 1 && parts[1] != "" {
		scope, known := map[string]int{"base": ldap.ScopeBaseObject, "one": ldap.ScopeSingleLevel, "sub": ldap.ScopeWholeSubtree}[strings.ToLower(parts[1])]
		if !known {
			return a, errMalformed
		}
		a.scope = scope
	}
	if len(parts) > 2 {
		if a.filter, err = url.PathUnescape(parts[2]); err != nil {
			return a, errMalformed
		}
	}
	return a, nil
}

// trail is where references have led already.
type trail struct {
	depth int
	seen  map[string]bool
}

// trailFrom begins at a search of d's own: a reference back to it leads nowhere new.
func trailFrom(d *Directory, q query) *trail {
	return &trail{seen: map[string]bool{address{server: d.settings.server, base: q.base, scope: q.scope}.key(): true}}
}

func (a address) key() string {
	return fmt.Sprintf("%s %s %d", a.server.address, canonicalDN(a.base), a.scope)
}

// step tells whether to go to an address: false for one that was read before.
func (t *trail) step(a address) (bool, error) {
	key := a.key()
	switch {
	case t.seen[key]:
		return false, nil
	case len(t.seen) > maxFollowed || t.depth >= maxReferralDepth:
		return false, fmt.Errorf("%w: references lead to references", errEndless)
	}
	t.seen[key] = true
	return true, nil
}

// pagedEverywhere is paged, and then goes where the references lead that are allowed: with verified TLS and the same login.
func pagedEverywhere[P any](ctx context.Context, d *Directory, q query, t *trail, take func(*Directory, *P, *record) error, yield func(*Directory, *P) error) error {
	follow, err := paged(ctx, d, q, func(p *P, r *record) error { return take(d, p, r) }, func(p *P) error { return yield(d, p) })
	if err != nil {
		return err
	}
	for _, a := range follow {
		a.base = cmp.Or(a.base, q.base)
		switch fresh, err := t.step(a); {
		case err != nil:
			return d.settings.classify(err)
		case fresh:
			if err := followTo(ctx, d, a, q, t, take, yield); err != nil {
				return err
			}
		}
	}
	return nil
}

func followTo[P any](ctx context.Context, d *Directory, a address, q query, t *trail, take func(*Directory, *P, *record) error, yield func(*Directory, *P) error) error {
	there, err := d.dialer.open(ctx, a.server)
	if err != nil {
		return err
	}
	defer there.Close()
	there.settings.BaseDN = a.base
	q.base, q.scope, q.filter = a.base, a.scope, cmp.Or(a.filter, q.filter)
	t.depth++
	defer func() { t.depth-- }()
	defer func() { d.calls.Add(there.calls.Load()) }()
	return pagedEverywhere(ctx, there, q, t, take, yield)
}
