package microsoft365

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// probedUsers is how many people a probe looks at to find one with a mailbox and a drive.
const probedUsers = 5

// Probe proves that the app can do what the services need: it gets a new token (a consent shows only in tokens issued after it),
// reads the organisation and a few users, and makes one cheap call per service. The text says what was found.
//
// Errors: CodeBadCredential and CodeBadConfig from the sign-in; CodeMissingRole naming every permission that is missing, so that one
// visit to the portal is enough; CodeThrottled, CodeUnreachable and CodeBadResponse when Microsoft does not answer properly.
func (a *App) Probe(ctx context.Context, services []backup.Service) (string, error) {
	roles, err := a.client.FreshRoles(ctx)
	if err != nil {
		return "", err
	}
	p := &probe{client: a.client, roles: roles}
	if err := p.organization(ctx); err != nil {
		return "", err
	}
	if err := p.users(ctx); err != nil {
		return "", err
	}
	for _, s := range services {
		if err := p.service(ctx, s); err != nil {
			return "", err
		}
	}
	return strings.Join(p.found, "; "), msgraph.JoinMissing(p.missing)
}

// probe is one probing under way.
type probe struct {
	client  *client
	roles   msgraph.Roles
	people  []user
	found   []string
	missing []*backup.Error
}

func (p *probe) say(format string, args ...any) {
	p.found = append(p.found, fmt.Sprintf(format, args...))
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
		p.say("signed in (the company's name needs Organization.Read.All, backups do not)")
	}
	return nil
}

// users finds a few people to probe with.
func (p *probe) users(ctx context.Context) error {
	var answer struct {
		Value []user `json:"value"`
	}
	query := fmt.Sprintf("$top=%d&$select=id,userPrincipalName", probedUsers)
	err := p.client.ReadJSON(ctx, msgraph.Call{URL: p.client.At(query, "users")}, &answer)
	var r *msgraph.Refusal
	if errors.As(err, &r) && r.Status == http.StatusForbidden {
		p.missing = append(p.missing, msgraph.ReadUsers.Missing(p.roles, err))
		p.missingByRoles()
		return nil
	}
	p.people = answer.Value[:min(len(answer.Value), probedUsers)]
	return err
}

// missingByRoles names what else the token lacks when nothing can be tried because nobody can be looked up.
func (p *probe) missingByRoles() {
	if !p.roles.Known {
		return
	}
	for _, need := range []msgraph.Permission{readMail, readFiles} {
		if !need.GrantedBy(p.roles) {
			p.missing = append(p.missing, need.Missing(p.roles, nil))
		}
	}
}

// service tries the people in turn until one gives a verdict: a person without a mailbox, or with a fenced one, gives none.
func (p *probe) service(ctx context.Context, s backup.Service) error {
	try, err := serviceProbe(s)
	if err != nil {
		return err
	}
	for _, u := range p.people {
		err := try(ctx, &account{client: p.client, user: u})
		switch {
		case err == nil:
			p.say("%s is readable (tried with %s)", s, msgraph.Plain(u.Name, 80))
			return nil
		case backup.HasCode(err, backup.CodeMissingRole):
			p.missing = append(p.missing, backup.AsError(err))
			return nil
		case backup.HasCode(err, backup.CodeNoService), backup.HasCode(err, backup.CodeFenced), backup.HasCode(err, backup.CodeNotFound):
			continue
		default:
			return err
		}
	}
	if len(p.people) > 0 {
		p.say("%s could not be tried, for none of the first %d people has any that is open to the app", s, len(p.people))
	}
	return nil
}

// serviceProbe is the one cheap call per service.
func serviceProbe(s backup.Service) (func(context.Context, *account) error, error) {
	switch s {
	case backup.Mail:
		return probeMail, nil
	case backup.Drive:
		return probeDrive, nil
	}
	return nil, msgraph.BadConfig(fmt.Sprintf("Microsoft 365 has no service %q", s), "use mail or drive")
}

func probeDrive(ctx context.Context, a *account) error {
	_, err := openDrive(ctx, a)
	return err
}

// probeMail opens the mailbox. An app with Mail.ReadBasic.All alone gets that far; only the body of a message tells.
func probeMail(ctx context.Context, a *account) error {
	m, err := openMailbox(ctx, a)
	if err != nil {
		return err
	}
	r, err := a.client.Roles(ctx)
	if err != nil || readMail.GrantedBy(r) || !r.Any(readMail.Lesser...) {
		return err
	}
	var answer struct {
		Value []message `json:"value"`
	}
	list := msgraph.Call{URL: a.client.At("$top=1&$select=id", "users", a.user.ID, "messages")}
	if err := a.client.ReadJSON(ctx, list, &answer); err != nil {
		return m.judge(ctx, err)
	}
	if len(answer.Value) == 0 {
		return &backup.Error{Code: backup.CodeNoService, Message: "the mailbox is empty"}
	}
	_, body, err := m.Open(ctx, backup.Item{ID: answer.Value[0].ID, Kind: backup.Message})
	if err != nil {
		return err
	}
	return body.Close()
}
