package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// probedUsers is how many people a probe looks at to find one with a mailbox.
const probedUsers = 5

// Probe gets a new token (a consent shows only in tokens issued after it), looks at the organisation, a few people, each group and one mailbox,
// and names every permission that is missing at once. Errors: those of the sign-in, CodeMissingRole, and CodeBadConfig for a group that is
// not there.
func (d *Directory) Probe(ctx context.Context) (string, error) {
	p := &probe{Directory: d}
	var err error
	if p.roles, err = d.client.FreshRoles(ctx); err != nil {
		return "", err
	}
	for _, look := range []func(context.Context) error{p.organization, p.people, p.groups, p.mailboxes} {
		if err := look(ctx); err != nil {
			return "", err
		}
	}
	return strings.Join(p.found, "; "), msgraph.JoinMissing(p.missing)
}

// probe is one probing under way.
type probe struct {
	*Directory
	roles   msgraph.Roles
	users   []person
	found   []string
	missing []*backup.Error
}

func (p *probe) say(format string, args ...any) {
	p.found = append(p.found, fmt.Sprintf(format, args...))
}

// lacks notes that a refusal is about a permission; other errors pass.
func (p *probe) lacks(need msgraph.Permission, err error) error {
	if !backup.HasCode(err, backup.CodeMissingRole) {
		return err
	}
	p.missing = append(p.missing, need.Missing(p.roles, err))
	return nil
}

// organization greets with the company's name.
func (p *probe) organization(ctx context.Context) error {
	name, known, err := p.client.Organization(ctx)
	switch {
	case err != nil:
		return err
	case known:
		p.say("signed in to %s", name)
	default:
		p.say("signed in")
	}
	return nil
}

func (p *probe) people(ctx context.Context) error {
	var answer struct {
		Value []person `json:"value"`
	}
	query := fmt.Sprintf("$top=%d&$select=%s", probedUsers, strings.Join(p.wanted.Select, ","))
	if err := p.client.ReadJSON(ctx, msgraph.Call{URL: p.client.At(query, "users")}, &answer); err != nil {
		return p.lacks(msgraph.ReadUsers, err)
	}
	p.users = answer.Value
	p.say("people are readable")
	return nil
}

// groups looks for each group and at the first of its members.
func (p *probe) groups(ctx context.Context) error {
	for _, g := range p.wanted.Groups {
		var answer struct {
			Value []struct{} `json:"value"`
		}
		err := p.client.ReadJSON(ctx, msgraph.Call{URL: p.client.At("$top=1&$select=id", "groups", g, "transitiveMembers")}, &answer)
		if backup.HasCode(err, backup.CodeMissingRole) {
			return p.lacks(readGroups, err)
		}
		if err != nil {
			return judgeGroup(ctx, p.client, g, err)
		}
		if len(answer.Value) == 0 {
			p.say("the group %s has no members", g)
		}
	}
	if n := len(p.wanted.Groups); n > 0 {
		p.say("%d groups are readable", n)
	}
	return nil
}

// mailboxes tries the first people in turn until one's mailbox gives a verdict.
func (p *probe) mailboxes(ctx context.Context) error {
	if !p.wanted.Config.SharedMailboxes {
		return nil
	}
	if len(p.users) == 0 && p.roles.Known && !readSettings.GrantedBy(p.roles) {
		p.missing = append(p.missing, readSettings.Missing(p.roles, nil))
	}
	for _, u := range p.users {
		err := p.client.ReadJSON(ctx, msgraph.Call{URL: p.client.At("", "users", u.ID, "mailboxSettings", "userPurpose")}, new(struct{}))
		var f *msgraph.Refusal
		switch {
		case err == nil:
			p.say("mailbox settings are readable")
			return nil
		case errors.As(err, &f) && (f.Missing() || f.Has(noMailbox...) && f.Status < http.StatusInternalServerError || f.Says("Access to OData is disabled")):
			continue
		default:
			return p.lacks(readSettings, err)
		}
	}
	return nil
}
