package sqlstore

import (
	"bytes"
	"context"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const scimUserColumns = `id, external_id, user_name, active, doc, version, created, modified`

func scanSCIMUser(r row) (u backup.SCIMUser, err error) {
	var doc string
	err = r.Scan(&u.ID, &u.ExternalID, &u.UserName, &u.Active, &doc, &u.Version, moment{&u.Created}, moment{&u.Modified})
	u.Doc = []byte(doc)
	return u, err
}

// CreateUser keeps a new user. CodeConflict: another one has its name.
func (s *SCIM) CreateUser(ctx context.Context, scope backup.SCIMScope, u backup.SCIMUser) (backup.SCIMUser, error) {
	err := s.change(ctx, scope, "create a user", func(ctx context.Context, d *scimDirectory) error {
		number, err := d.advance(ctx, 1, 1, 0)
		if err != nil {
			return err
		}
		u.Version, u.Created, u.Modified = 1, d.now, d.now
		n, err := execute(ctx, d.tx, `INSERT INTO scim_user (scope, number, id, external_id, user_name, name_key, active, doc, version, created, modified, sequence, deleted)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $9, $2, 0) ON CONFLICT (scope, name_key) WHERE deleted = 0 DO NOTHING`,
			d.id, number, u.ID, u.ExternalID, u.UserName, strings.ToLower(u.UserName), u.Active, string(u.Doc), micros(d.now))
		if err != nil {
			return err
		}
		if n == 0 {
			return nameTaken(u.UserName)
		}
		return s.index(ctx, d, number, u.Index)
	})
	return u, err
}

// index keeps what filters may ask for of a resource.
func (s *SCIM) index(ctx context.Context, d *scimDirectory, owner int64, values []backup.SCIMValue) error {
	rows := make([][]any, len(values))
	for i, v := range values {
		rows[i] = []any{d.id, owner, v.Path, v.Type, v.Text, identifying[v.Path]}
	}
	return s.store.insertRows(ctx, d.tx, "scim_value", "scope, owner, path, type, text, keyed", rows, "")
}

func (s *SCIM) reindex(ctx context.Context, d *scimDirectory, owner int64, values []backup.SCIMValue) error {
	if _, err := d.tx.ExecContext(ctx, `DELETE FROM scim_value WHERE scope = $1 AND owner = $2`, d.id, owner); err != nil {
		return err
	}
	return s.index(ctx, d, owner, values)
}

// User returns a user, active or not; CodeNotFound when there is none.
func (s *SCIM) User(ctx context.Context, scope backup.SCIMScope, id string) (backup.SCIMUser, error) {
	number, err := s.scope(ctx, scope)
	if err != nil {
		return backup.SCIMUser{}, classify(ctx, "read a user", err)
	}
	u, err := scanSCIMUser(s.store.read.QueryRowContext(ctx, `SELECT `+scimUserColumns+` FROM scim_user WHERE scope = $1 AND id = $2 AND deleted = 0`, number, id))
	return u, classify(ctx, "read a user", orNotFound(err, noSuch("user", id)))
}

// ChangeUser changes a user by what change returns; see the interface that the provider declares.
func (s *SCIM) ChangeUser(ctx context.Context, scope backup.SCIMScope, id string, ifVersion int64, change func(backup.SCIMUser) (backup.SCIMUser, error)) (result backup.SCIMUser, err error) {
	err = s.change(ctx, scope, "change a user", func(ctx context.Context, d *scimDirectory) error {
		number, before, err := d.user(ctx, id, ifVersion)
		if err != nil {
			return err
		}
		after, err := change(before)
		if err != nil {
			return err
		}
		if after.ExternalID == before.ExternalID && after.UserName == before.UserName && after.Active == before.Active && bytes.Equal(after.Doc, before.Doc) {
			result = before
			return errUnchanged
		}
		after.ID, after.Created, after.Version, after.Modified = before.ID, before.Created, before.Version+1, d.now
		result = after
		return s.writeUser(ctx, d, number, before, after)
	})
	return result, err
}

// user reads a user of the locked directory.
func (d *scimDirectory) user(ctx context.Context, id string, ifVersion int64) (number int64, u backup.SCIMUser, err error) {
	u, err = scanSCIMUser(d.tx.QueryRowContext(ctx, `SELECT `+scimUserColumns+` FROM scim_user WHERE scope = $1 AND id = $2 AND deleted = 0`, d.id, id))
	if err == nil {
		err = d.tx.QueryRowContext(ctx, `SELECT number FROM scim_user WHERE scope = $1 AND id = $2`, d.id, id).Scan(&number)
	}
	if err != nil {
		return 0, u, orNotFound(err, noSuch("user", id))
	}
	return number, u, atVersion(ifVersion, u.Version)
}

func (s *SCIM) writeUser(ctx context.Context, d *scimDirectory, number int64, before, after backup.SCIMUser) error {
	if err := d.nameFree(ctx, before, after); err != nil {
		return err
	}
	sequence, err := d.advance(ctx, 1, 0, 0)
	if err != nil {
		return err
	}
	_, err = d.tx.ExecContext(ctx, `UPDATE scim_user SET external_id = $3, user_name = $4, name_key = $5, active = $6, doc = $7, version = $8, modified = $9, sequence = $10
		WHERE scope = $1 AND number = $2 AND deleted = 0`, d.id, number, after.ExternalID, after.UserName, strings.ToLower(after.UserName), after.Active, string(after.Doc),
		after.Version, micros(after.Modified), sequence)
	if err != nil || bytes.Equal(before.Doc, after.Doc) {
		return err
	}
	return s.reindex(ctx, d, number, after.Index)
}

// nameFree refuses a new name that another user has. The directory is locked, so nobody takes it meanwhile.
func (d *scimDirectory) nameFree(ctx context.Context, before, after backup.SCIMUser) error {
	key := strings.ToLower(after.UserName)
	if key == strings.ToLower(before.UserName) {
		return nil
	}
	var taken bool
	err := d.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM scim_user WHERE scope = $1 AND name_key = $2 AND deleted = 0)`, d.id, key).Scan(&taken)
	if err == nil && taken {
		err = nameTaken(after.UserName)
	}
	return err
}

// DeleteUser buries a user.
func (s *SCIM) DeleteUser(ctx context.Context, scope backup.SCIMScope, id string, ifVersion int64) error {
	return s.change(ctx, scope, "delete a user", func(ctx context.Context, d *scimDirectory) error {
		number, _, err := d.user(ctx, id, ifVersion)
		if err != nil {
			return err
		}
		sequence, err := d.advance(ctx, 1, -1, 0)
		if err != nil {
			return err
		}
		_, err = d.tx.ExecContext(ctx, `UPDATE scim_user SET external_id = '', user_name = '', name_key = '', active = FALSE, doc = '{}', version = version + 1,
			modified = $3, sequence = $4, deleted = $3 WHERE scope = $1 AND number = $2 AND deleted = 0`, d.id, number, micros(d.now), sequence)
		if err != nil {
			return err
		}
		if err := d.leaveAll(ctx, id); err != nil {
			return err
		}
		return s.reindex(ctx, d, number, nil)
	})
}

// ListUsers returns a page of the users who fit, in order of creation, and how many fit in all.
func (s *SCIM) ListUsers(ctx context.Context, scope backup.SCIMScope, f backup.SCIMFilter, p backup.SCIMPage) ([]backup.SCIMUser, int, error) {
	users, total, err := listSCIM(ctx, s, scope, scimUsers, f, p, scanSCIMUser)
	return users, total, classify(ctx, "list users", err)
}

func nameTaken(name string) error {
	return &backup.Error{Code: backup.CodeConflict, Fault: backup.FaultCustomer, Message: "a user has the userName " + name + " already",
		Hint: "look it up by its userName and change it, or choose another userName"}
}

func noSuch(what, id string) error {
	return notFound(backup.FaultCustomer, "there is no "+what+" "+id, "look it up by a filter: it may have been deleted, or belong to another token")
}

// atVersion refuses a change of something that is not what the caller has seen. 0 stands for whatever is there.
func atVersion(wanted, is int64) error {
	if wanted == 0 || wanted == is {
		return nil
	}
	return &backup.Error{Code: backup.CodeDifferenceChanged, Fault: backup.FaultCustomer, Message: "it was changed meanwhile", Hint: "read it again, and change what is there now"}
}
