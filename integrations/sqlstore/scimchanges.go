package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// ChangedUsers returns up to limit users whose newest change is after the sequence, oldest change first, and which of the named groups
// each of them is in. From 0 on, deleted users are left out.
func (s *SCIM) ChangedUsers(ctx context.Context, scope backup.SCIMScope, groups []string, after int64, limit int) ([]backup.SCIMChange, error) {
	changes, err := s.changedUsers(ctx, scope, groups, after, limit)
	return changes, classify(ctx, "read what was pushed", err)
}

func (s *SCIM) changedUsers(ctx context.Context, scope backup.SCIMScope, groups []string, after int64, limit int) ([]backup.SCIMChange, error) {
	directory, err := s.scope(ctx, scope)
	if err != nil || directory == 0 {
		return nil, err
	}
	tx, err := s.store.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // users and their groups are of one moment
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	living := ""
	if after <= 0 {
		living = " AND deleted = 0"
	}
	changes, err := list(ctx, tx, scanSCIMChange, `SELECT sequence, deleted <> 0, `+scimUserColumns+` FROM scim_user
		WHERE scope = $1 AND sequence > $2`+living+` ORDER BY sequence LIMIT $3`, directory, after, pageSize(limit))
	if err != nil || len(groups) == 0 {
		return changes, err
	}
	return changes, addGroups(ctx, tx, directory, changes, groups)
}

func scanSCIMChange(r row) (c backup.SCIMChange, err error) {
	var doc string
	u := &c.User
	err = r.Scan(&c.Sequence, &c.Gone, &u.ID, &u.ExternalID, &u.UserName, &u.Active, &doc, &u.Version, moment{&u.Created}, moment{&u.Modified})
	if c.Gone {
		c.User = backup.SCIMUser{ID: u.ID}
		return c, err
	}
	u.Doc = []byte(doc)
	return c, err
}

// addGroups says of each user which of the groups it is in. It climbs from the users of this page: to descend from the groups would read
// all of their members for every page.
func addGroups(ctx context.Context, tx *sql.Tx, directory int64, changes []backup.SCIMChange, groups []string) error {
	asked := make(map[string][]string, len(groups)) // several may differ in letters' case only
	for _, g := range groups {
		asked[strings.ToLower(g)] = append(asked[strings.ToLower(g)], g)
	}
	at := make(map[string]*backup.SCIMChange, len(changes))
	var ids []string
	for i, c := range changes {
		if !c.Gone {
			at[c.User.ID] = &changes[i]
			ids = append(ids, c.User.ID)
		}
	}
	for chunk := range slices.Chunk(ids, rowsAtOnce) {
		members, err := namedGroupsOf(ctx, tx, directory, chunk)
		if err != nil {
			return err
		}
		for _, m := range members {
			c := at[m[0]]
			c.Groups = append(c.Groups, asked[m[1]]...)
		}
	}
	for _, c := range at {
		slices.Sort(c.Groups)
		c.Groups = slices.Compact(c.Groups)
	}
	return nil
}

// namedGroupsOf returns pairs of a user's id and the name, in lower case, of a group that the user is in.
func namedGroupsOf(ctx context.Context, tx *sql.Tx, directory int64, users []string) ([][2]string, error) {
	ids, args := numbered(users, directory)
	return list(ctx, tx, func(r row) (pair [2]string, err error) {
		return pair, r.Scan(&pair[0], &pair[1])
	}, `WITH RECURSIVE above (user_id, in_group) AS (
			SELECT m.member, m.in_group FROM scim_member m WHERE m.scope = $1 AND m.member IN (`+ids+`)
			UNION
			SELECT a.user_id, m.in_group FROM above a CROSS JOIN scim_group g CROSS JOIN scim_member m
				WHERE g.scope = $1 AND g.number = a.in_group AND m.scope = $1 AND m.member = g.id
		)
		SELECT DISTINCT a.user_id, g.name_key FROM above a JOIN scim_group g ON g.scope = $1 AND g.number = a.in_group`, args...)
}

// LastChange is the newest sequence of a directory, and how many users it has.
func (s *SCIM) LastChange(ctx context.Context, scope backup.SCIMScope) (sequence int64, usersStored int, err error) {
	err = s.store.read.QueryRowContext(ctx, `SELECT sequence, user_count FROM scim_directory WHERE tenant = $1 AND directory = $2`, scope.Tenant, scope.Directory).
		Scan(&sequence, &usersStored)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, nil
	}
	return sequence, usersStored, classify(ctx, "read what was pushed", err)
}
