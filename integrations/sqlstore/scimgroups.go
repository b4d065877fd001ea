package sqlstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const scimGroupColumns = `id, external_id, display_name, doc, version, created, modified`

func scanSCIMGroup(r row) (g backup.SCIMGroup, err error) {
	var doc string
	err = r.Scan(&g.ID, &g.ExternalID, &g.DisplayName, &doc, &g.Version, moment{&g.Created}, moment{&g.Modified})
	g.Doc = []byte(doc)
	return g, err
}

// CreateGroup keeps a new group with its members, known or not.
func (s *SCIM) CreateGroup(ctx context.Context, scope backup.SCIMScope, g backup.SCIMGroup, members []backup.SCIMMember) (backup.SCIMGroup, error) {
	err := s.change(ctx, scope, "create a group", func(ctx context.Context, d *scimDirectory) error {
		number, err := d.advance(ctx, 1, 0, 1)
		if err != nil {
			return err
		}
		g.Version, g.Created, g.Modified = 1, d.now, d.now
		_, err = d.tx.ExecContext(ctx, `INSERT INTO scim_group (scope, number, id, external_id, display_name, name_key, doc, version, created, modified)
			VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $8)`,
			d.id, number, g.ID, g.ExternalID, g.DisplayName, strings.ToLower(g.DisplayName), string(g.Doc), micros(d.now))
		if err != nil {
			return err
		}
		if err := s.index(ctx, d, number, g.Index); err != nil {
			return err
		}
		_, err = s.changeMembers(ctx, d, number, backup.SCIMMembers{Add: members})
		return err
	})
	return g, err
}

// Group returns a group; CodeNotFound when there is none.
func (s *SCIM) Group(ctx context.Context, scope backup.SCIMScope, id string) (backup.SCIMGroup, error) {
	directory, err := s.scope(ctx, scope)
	if err != nil {
		return backup.SCIMGroup{}, classify(ctx, "read a group", err)
	}
	g, err := scanSCIMGroup(s.store.read.QueryRowContext(ctx, `SELECT `+scimGroupColumns+` FROM scim_group WHERE scope = $1 AND id = $2`, directory, id))
	return g, classify(ctx, "read a group", orNotFound(err, noSuch("group", id)))
}

// ChangeGroup changes a group and its members by what change returns; see the interface that the provider declares.
func (s *SCIM) ChangeGroup(ctx context.Context, scope backup.SCIMScope, id string, ifVersion int64,
	change func(backup.SCIMGroup) (backup.SCIMGroup, backup.SCIMMembers, error)) (result backup.SCIMGroup, err error) {
	err = s.change(ctx, scope, "change a group", func(ctx context.Context, d *scimDirectory) error {
		number, before, err := d.group(ctx, id, ifVersion)
		if err != nil {
			return err
		}
		after, members, err := change(before)
		if err != nil {
			return err
		}
		same := after.ExternalID == before.ExternalID && after.DisplayName == before.DisplayName && bytes.Equal(after.Doc, before.Doc)
		result = before
		moved, err := s.changeMembers(ctx, d, number, members)
		if err != nil {
			return err
		}
		if same && !moved {
			return errUnchanged
		}
		after.ID, after.Created, after.Version, after.Modified = before.ID, before.Created, before.Version+1, d.now
		result = after
		return s.writeGroup(ctx, d, number, before, after)
	})
	return result, err
}

// group reads a group of the locked directory.
func (d *scimDirectory) group(ctx context.Context, id string, ifVersion int64) (number int64, g backup.SCIMGroup, err error) {
	err = d.tx.QueryRowContext(ctx, `SELECT number FROM scim_group WHERE scope = $1 AND id = $2`, d.id, id).Scan(&number)
	if err == nil {
		g, err = scanSCIMGroup(d.tx.QueryRowContext(ctx, `SELECT `+scimGroupColumns+` FROM scim_group WHERE scope = $1 AND number = $2`, d.id, number))
	}
	if err != nil {
		return 0, g, orNotFound(err, noSuch("group", id))
	}
	return number, g, atVersion(ifVersion, g.Version)
}

func (s *SCIM) writeGroup(ctx context.Context, d *scimDirectory, number int64, before, after backup.SCIMGroup) error {
	_, err := d.tx.ExecContext(ctx, `UPDATE scim_group SET external_id = $3, display_name = $4, name_key = $5, doc = $6, version = $7, modified = $8
		WHERE scope = $1 AND number = $2`, d.id, number, after.ExternalID, after.DisplayName, strings.ToLower(after.DisplayName), string(after.Doc), after.Version, micros(after.Modified))
	if err != nil {
		return err
	}
	if after.DisplayName != before.DisplayName {
		if err := d.touchMembers(ctx, number); err != nil {
			return err
		}
	}
	if bytes.Equal(before.Doc, after.Doc) {
		return nil
	}
	return s.reindex(ctx, d, number, after.Index)
}

// DeleteGroup deletes a group. Its members stay.
func (s *SCIM) DeleteGroup(ctx context.Context, scope backup.SCIMScope, id string, ifVersion int64) error {
	return s.change(ctx, scope, "delete a group", func(ctx context.Context, d *scimDirectory) error {
		number, _, err := d.group(ctx, id, ifVersion)
		if err != nil {
			return err
		}
		if err := d.touchMembers(ctx, number); err != nil {
			return err
		}
		if _, err := d.advance(ctx, 1, 0, -1); err != nil {
			return err
		}
		if err := d.leaveAll(ctx, id); err != nil {
			return err
		}
		return execAll(ctx, d.tx, []any{d.id, number},
			`DELETE FROM scim_member WHERE scope = $1 AND in_group = $2`,
			`DELETE FROM scim_value WHERE scope = $1 AND owner = $2`,
			`DELETE FROM scim_group WHERE scope = $1 AND number = $2`)
	})
}

// ListGroups returns a page of the groups that fit, in order of creation, and how many fit in all.
func (s *SCIM) ListGroups(ctx context.Context, scope backup.SCIMScope, f backup.SCIMFilter, p backup.SCIMPage) ([]backup.SCIMGroup, int, error) {
	groups, total, err := listSCIM(ctx, s, scope, scimGroups, f, p, scanSCIMGroup)
	return groups, total, classify(ctx, "list groups", err)
}

// GroupMembers returns a page of a group's members, in order of their ids.
func (s *SCIM) GroupMembers(ctx context.Context, scope backup.SCIMScope, id, after string, limit int) ([]backup.SCIMMember, error) {
	directory, err := s.scope(ctx, scope)
	if err != nil {
		return nil, classify(ctx, "read a group's members", err)
	}
	members, err := list(ctx, s.store.read, func(r row) (m backup.SCIMMember, err error) {
		return m, r.Scan(&m.Value, &m.Display, &m.Type)
	}, `SELECT m.member, m.display, CASE WHEN u.id IS NOT NULL THEN 'User' WHEN n.id IS NOT NULL THEN 'Group' ELSE '' END
		FROM scim_group g JOIN scim_member m ON m.scope = g.scope AND m.in_group = g.number
		LEFT JOIN scim_user u ON u.scope = m.scope AND u.id = m.member AND u.deleted = 0
		LEFT JOIN scim_group n ON n.scope = m.scope AND n.id = m.member
		WHERE g.scope = $1 AND g.id = $2 AND m.member > $3 ORDER BY m.member LIMIT $4`, directory, id, after, pageSize(limit))
	return members, classify(ctx, "read a group's members", err)
}

// GroupsOfUsers returns the groups that list the users themselves, by user.
func (s *SCIM) GroupsOfUsers(ctx context.Context, scope backup.SCIMScope, users []string) (map[string][]backup.SCIMMember, error) {
	directory, err := s.scope(ctx, scope)
	if err != nil || len(users) == 0 {
		return nil, classify(ctx, "read users' groups", err)
	}
	type membership struct {
		user  string
		group backup.SCIMMember
	}
	found := make(map[string][]backup.SCIMMember)
	for chunk := range slices.Chunk(users, rowsAtOnce) {
		ids, args := numbered(chunk, directory)
		rows, err := list(ctx, s.store.read, func(r row) (m membership, err error) {
			m.group.Type = "Group"
			return m, r.Scan(&m.user, &m.group.Value, &m.group.Display)
		}, `SELECT m.member, g.id, g.display_name FROM scim_member m JOIN scim_group g ON g.scope = m.scope AND g.number = m.in_group
			WHERE m.scope = $1 AND m.member IN (`+ids+`) ORDER BY m.member, g.id`, args...)
		if err != nil {
			return nil, classify(ctx, "read users' groups", err)
		}
		for _, m := range rows {
			found[m.user] = append(found[m.user], m.group)
		}
	}
	return found, nil
}

// numbered are the parameters of a list of texts, behind those that come first.
func numbered(texts []string, first ...any) (parameters string, args []any) {
	all := make([]string, len(texts))
	for i, t := range texts {
		first = append(first, t)
		all[i] = fmt.Sprintf("$%d", len(first))
	}
	return strings.Join(all, ", "), first
}
