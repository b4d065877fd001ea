package microsoft365

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// Source is one service of one account: a mailbox or a drive.
type Source interface {
	// Changes calls yield for everything that changed since cursor, or for everything when it is empty, one call at a time, and returns
	// the next cursor. CodeCursorExpired: list again with an empty cursor.
	//
	// Removed mail folders are told of once, without the messages that were in them, for Graph no longer lists those.
	Changes(ctx context.Context, cursor json.RawMessage, yield func(backup.Change) error) (json.RawMessage, error)
	// Open returns the item as it was when its content was opened, and the content, verified where the service gives length and
	// hash. Both Open and the reader may return *backup.SkipError. CodeNotFound: the item is gone. It may be called concurrently.
	Open(ctx context.Context, item backup.Item) (backup.Item, io.ReadCloser, error)
	// Parallel is how many Opens may be under way at once beside one Changes.
	Parallel() int
	// Calls is how many HTTP requests this source has made, retries and downloads included, requests for tokens not.
	Calls() int64
}

// Source opens one service of an account. Errors: CodeNotFound when Microsoft 365 does not know the account, CodeNoService when it has
// no mailbox or drive, CodeFenced when that is closed to the app, CodeMissingRole when a permission is missing.
func (a *App) Source(ctx context.Context, acc backup.Account, s backup.Service) (Source, error) {
	if _, err := serviceProbe(s); err != nil {
		return nil, err
	}
	name := acc.PrincipalName()
	if name == "" {
		return nil, &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "account " + acc.ID + " has no name to look up in Microsoft 365",
			Hint: "give the person a mail address or user principal name in the directory"}
	}
	own := &account{client: a.client.counting()}
	if err := own.resolve(ctx, name); err != nil {
		return nil, err
	}
	if s == backup.Mail {
		return openMailbox(ctx, own)
	}
	return openDrive(ctx, own)
}

// user is a person as Microsoft 365 knows it.
type user struct {
	ID   string `json:"id"`
	Name string `json:"userPrincipalName"`
}

// account is a resolved person, with the client that counts its calls.
type account struct {
	client *client
	user   user
}

// resolve finds the person by principal name. Every later call uses the id, which a rename does not change.
func (a *account) resolve(ctx context.Context, name string) error {
	err := a.client.ReadJSON(ctx, msgraph.Call{URL: a.client.At("$select=id,userPrincipalName", "users", name)}, &a.user)
	var r *msgraph.Refusal
	switch {
	case errors.As(err, &r) && (r.Missing() || r.Has("request_badrequest")): // the latter: no name at all by Entra's rules
		return &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "Microsoft 365 does not know " + msgraph.Plain(name, 120), Cause: r,
			Hint: "check the person's user principal name in the directory against the one in Entra"}
	case errors.As(err, &r) && r.Status == http.StatusForbidden:
		return a.client.Lacks(ctx, msgraph.ReadUsers, err)
	case err != nil:
		return err
	case a.user.ID == "":
		return msgraph.BadResponse("Microsoft Graph gave a user without an id", nil)
	}
	return nil
}

// closed judges a refusal of a whole mailbox or drive: with the permission in the token it is this one that is closed to the app,
// by an application access policy or RBAC for applications; without it, all are.
func (a *account) closed(ctx context.Context, need msgraph.Permission, r *msgraph.Refusal, err error) error {
	granted, rerr := a.client.Roles(ctx)
	if rerr != nil {
		return rerr
	}
	if !r.Says("Access to OData is disabled") && !need.GrantedBy(granted) {
		return a.client.Lacks(ctx, need, err)
	}
	return &backup.Error{Code: backup.CodeFenced, Fault: backup.FaultCustomer, Cause: r,
		Message: fmt.Sprintf("Microsoft 365 does not let the app %s of %s", need.Purpose, msgraph.Plain(a.user.Name, 120)),
		Hint:    "check the application access policies and RBAC for applications in Exchange, and the site's locks in SharePoint; changes take an hour or more"}
}

// noService says that the person has no mailbox or drive, which is an outcome and not a failure.
func (a *account) noService(what string, cause error) error {
	return &backup.Error{Code: backup.CodeNoService, Fault: backup.FaultCustomer, Cause: cause,
		Message: msgraph.Plain(a.user.Name, 120) + " has no " + what,
		Hint:    "nothing to do, unless a licence with " + what + " should be assigned"}
}
