package sqlstore

import (
	"context"
	"fmt"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// changeMembers makes a change of a group's members by a handful of statements, however many they are, and tells whether there was
// anything to change. Users concerned by it, directly or through nested groups, take their places at the end of the change feed.
func (s *SCIM) changeMembers(ctx context.Context, d *scimDirectory, group int64, m backup.SCIMMembers) (changed bool, err error) {
	if !m.Clear && len(m.Remove) == 0 && len(m.Add) == 0 {
		return false, nil
	}
	if err := s.stageMembers(ctx, d, m); err != nil {
		return false, err
	}
	n, err := d.trimStaged(ctx, group, m.Clear)
	if err != nil || n == 0 {
		return false, err // what is staged still are none
	}
	if err := d.touch(ctx, `SELECT member FROM scim_staged_member WHERE scope = $1`); err != nil {
		return false, err
	}
	for _, step := range []string{
		`DELETE FROM scim_member WHERE scope = $1 AND in_group = $2 AND member IN (SELECT member FROM scim_staged_member WHERE scope = $1 AND leaves)`,
		`INSERT INTO scim_member (scope, in_group, member, display)
			SELECT scope, CAST($2 AS BIGINT), member, display FROM scim_staged_member WHERE scope = $1 AND NOT leaves ORDER BY member`,
	} {
		if _, err := d.tx.ExecContext(ctx, step, d.id, group); err != nil {
			return false, err
		}
	}
	_, err = d.tx.ExecContext(ctx, `DELETE FROM scim_staged_member WHERE scope = $1`, d.id)
	return true, err
}

// stageMembers stages each member that is named once: who is removed and added again stays.
func (s *SCIM) stageMembers(ctx context.Context, d *scimDirectory, m backup.SCIMMembers) error {
	rows := make([][]any, 0, len(m.Add)+len(m.Remove))
	seen := make(map[string]bool, cap(rows))
	for _, a := range m.Add {
		if !seen[a.Value] {
			seen[a.Value] = true
			rows = append(rows, []any{d.id, a.Value, a.Display, false})
		}
	}
	for _, id := range m.Remove {
		if !seen[id] && !m.Clear {
			seen[id] = true
			rows = append(rows, []any{d.id, id, "", true})
		}
	}
	return s.store.insertRows(ctx, d.tx, "scim_staged_member", "scope, member, display, leaves", rows, "")
}

// trimStaged leaves staged what really changes, and counts it: the new ones who are none yet, and the leaving ones who are members. With
// clear everybody leaves who is not staged.
func (d *scimDirectory) trimStaged(ctx context.Context, group int64, clear bool) (n int64, err error) {
	if clear {
		_, err = d.tx.ExecContext(ctx, `INSERT INTO scim_staged_member (scope, member, display, leaves)
			SELECT m.scope, m.member, '', TRUE FROM scim_member m WHERE m.scope = $1 AND m.in_group = $2
			AND NOT EXISTS (SELECT 1 FROM scim_staged_member s WHERE s.scope = $1 AND s.member = m.member)`, d.id, group)
		if err != nil {
			return 0, err
		}
	}
	_, err = d.tx.ExecContext(ctx, `DELETE FROM scim_staged_member WHERE scope = $1 AND leaves <>
		EXISTS (SELECT 1 FROM scim_member m WHERE m.scope = $1 AND m.in_group = $2 AND m.member = scim_staged_member.member)`, d.id, group)
	if err != nil {
		return 0, err
	}
	err = d.tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM scim_staged_member WHERE scope = $1`, d.id).Scan(&n)
	return n, err
}

// touchMembers puts everybody in the group, directly or nested, at the end of the change feed.
func (d *scimDirectory) touchMembers(ctx context.Context, group int64) error {
	return d.touch(ctx, `SELECT member FROM scim_member WHERE scope = $1 AND in_group = $4`, group)
}

// touchStatement is of touch, for a query of ids. It descends from group to group, and only then to their members: those who are no groups
// are many. A user's groups, which are part of it (RFC 7643 section 4.1.2), are those that it is in itself: so whoever is among the ids gets a
// new version, and those further below are in the feed only. CROSS JOIN keeps SQLite from looking at everybody who is in a group for each id.
const touchStatement = `WITH RECURSIVE named (id) AS (
		%s
	), inner_group (number) AS (
		SELECT g.number FROM named n CROSS JOIN scim_group g WHERE g.scope = $1 AND g.id = n.id
		UNION
		SELECT g.number FROM inner_group i CROSS JOIN scim_member m CROSS JOIN scim_group g
		WHERE m.scope = $1 AND m.in_group = i.number AND g.scope = m.scope AND g.id = m.member
	), below (id) AS (
		SELECT id FROM named
		UNION
		SELECT m.member FROM inner_group i CROSS JOIN scim_member m WHERE m.scope = $1 AND m.in_group = i.number
	), concerned AS (
		SELECT u.number AS number, ROW_NUMBER() OVER (ORDER BY u.number) AS place, u.id IN (SELECT id FROM named) AS itself
		FROM below b CROSS JOIN scim_user u WHERE u.scope = $1 AND u.id = b.id AND u.deleted = 0
	)
	UPDATE scim_user SET sequence = CAST($2 AS BIGINT) + concerned.place, version = scim_user.version + CASE WHEN concerned.itself THEN 1 ELSE 0 END,
		modified = CASE WHEN concerned.itself THEN CAST($3 AS BIGINT) ELSE scim_user.modified END FROM concerned
	WHERE scim_user.scope = $1 AND scim_user.number = concerned.number AND scim_user.deleted = 0`

// touch puts the users among the ids, and those in the groups among them, directly or nested, at the end of the change feed, each at a
// place of its own. The ids are those whose own groups change. Groups that contain each other end the search: an id is looked at once.
func (d *scimDirectory) touch(ctx context.Context, ids string, more ...any) error {
	n, err := execute(ctx, d.tx, fmt.Sprintf(touchStatement, ids), append([]any{d.id, d.sequence, micros(d.now)}, more...)...)
	if err != nil || n == 0 {
		return err
	}
	_, err = d.advance(ctx, n, 0, 0)
	return err
}

// leaveAll ends the memberships of a user or group that is deleted. The groups that it was in are others from now on.
func (d *scimDirectory) leaveAll(ctx context.Context, id string) error {
	_, err := d.tx.ExecContext(ctx, `UPDATE scim_group SET version = version + 1, modified = $3
		WHERE scope = $1 AND number IN (SELECT in_group FROM scim_member WHERE scope = $1 AND member = $2)`, d.id, id, micros(d.now))
	if err == nil {
		_, err = d.tx.ExecContext(ctx, `DELETE FROM scim_member WHERE scope = $1 AND member = $2`, d.id, id)
	}
	return err
}
