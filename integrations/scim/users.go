package scim

import (
	"net/http"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// keepUser fills the fields of a user from its document. A user is active unless it was said that it is not.
func keepUser(u backup.SCIMUser, doc document) (backup.SCIMUser, error) {
	if _, said := doc["active"]; !said {
		doc["active"] = true
	}
	if err := userType.check(doc); err != nil {
		return u, err
	}
	u.UserName, _ = doc["userName"].(string)
	u.ExternalID, _ = doc["externalId"].(string)
	u.Active, _ = doc["active"].(bool)
	if len(u.UserName) > maxIndexed || len(u.ExternalID) > maxIndexed {
		return u, badValue("userName and externalId may have %d bytes at most.", maxIndexed)
	}
	u.Doc, u.Index = encode(doc), userType.index(doc)
	return u, nil
}

// sentUser reads a whole user.
func (q *request) sentUser() (document, error) {
	return q.sent(userType)
}

// sent reads a whole resource of a type.
func (q *request) sent(t *resourceType) (document, error) {
	body, err := readBody(q.w, q.r, q.options.MaxBody)
	if err != nil {
		return nil, err
	}
	if !lists(folded(body)["schemas"], t.core.ID) {
		return nil, badSyntax("The schemas of the body must name %s.", t.core.ID)
	}
	return t.plain(body)
}

func (q *request) createUser(string) error {
	p, err := q.projection(userType)
	if err != nil {
		return err
	}
	doc, err := q.sentUser()
	if err != nil {
		return err
	}
	u, err := keepUser(backup.SCIMUser{ID: newID()}, doc)
	if err != nil {
		return err
	}
	if u, err = q.store.CreateUser(q.context(), q.scope, u); err != nil {
		return err
	}
	q.changed()
	return q.answerUser(http.StatusCreated, u, p)
}

func (q *request) getUser(id string) error {
	p, err := q.projection(userType)
	if err != nil {
		return err
	}
	u, err := q.store.User(q.context(), q.scope, id)
	if err != nil || q.notModified(u.Version) {
		return err
	}
	return q.answerUser(http.StatusOK, u, p)
}

func (q *request) putUser(id string) error {
	doc, err := q.sentUser()
	if err != nil {
		return err
	}
	return q.changeUser(id, func(u backup.SCIMUser) (backup.SCIMUser, error) { return keepUser(u, doc) })
}

func (q *request) patchUser(id string) error {
	body, err := readBody(q.w, q.r, q.options.MaxBody)
	if err != nil {
		return err
	}
	ops, err := parsePatch(body)
	if err != nil {
		return err
	}
	return q.changeUser(id, func(u backup.SCIMUser) (backup.SCIMUser, error) { return patchedUser(u, ops) })
}

// patchedUser applies the operations: all, or none.
func patchedUser(u backup.SCIMUser, ops []operation) (backup.SCIMUser, error) {
	doc, err := decode(u.Doc)
	if err != nil {
		return u, err
	}
	p := patch{resourceType: userType, doc: doc}
	if err := p.apply(ops); err != nil {
		return u, err
	}
	return keepUser(u, p.doc)
}

func (q *request) changeUser(id string, change func(backup.SCIMUser) (backup.SCIMUser, error)) error {
	p, err := q.projection(userType)
	if err != nil {
		return err
	}
	version, err := q.ifMatch(func() (int64, error) {
		u, err := q.store.User(q.context(), q.scope, id)
		return u.Version, err
	})
	if err != nil {
		return err
	}
	u, err := q.store.ChangeUser(q.context(), q.scope, id, version, change)
	if err != nil {
		return err
	}
	q.changed()
	return q.answerUser(http.StatusOK, u, p)
}

func (q *request) deleteUser(id string) error {
	version, err := q.ifMatch(func() (int64, error) {
		u, err := q.store.User(q.context(), q.scope, id)
		return u.Version, err
	})
	if err != nil {
		return err
	}
	if err := q.store.DeleteUser(q.context(), q.scope, id, version); err != nil {
		return err
	}
	q.changed()
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (q *request) answerUser(status int, u backup.SCIMUser, p projection) error {
	shown, err := q.showUsers([]backup.SCIMUser{u}, p)
	if err != nil {
		return err
	}
	location := q.base() + userType.endpoint + "/" + u.ID
	h := q.w.Header()
	h.Set("ETag", etag(u.Version))
	if status == http.StatusCreated {
		h.Set("Location", location)
	}
	writeJSON(q.w, status, shown[0])
	return nil
}

// showUsers makes answers of users, with the groups they are in.
func (q *request) showUsers(users []backup.SCIMUser, p projection) ([]any, error) {
	groups := map[string][]backup.SCIMMember{}
	if p.wants("groups") && len(users) > 0 {
		ids := make([]string, len(users))
		for i, u := range users {
			ids[i] = u.ID
		}
		var err error
		if groups, err = q.store.GroupsOfUsers(q.context(), q.scope, ids); err != nil {
			return nil, err
		}
	}
	shown := make([]any, 0, len(users))
	for _, u := range users {
		doc, err := decode(u.Doc)
		if err != nil {
			return nil, err
		}
		doc["active"] = u.Active
		if in := groups[u.ID]; len(in) > 0 {
			doc["groups"] = q.showGroupsOf(in)
		}
		shown = append(shown, p.cut(userType.show(doc, q.base(), u.ID, u.Version, u.Created, u.Modified)))
	}
	return shown, nil
}

func (q *request) showGroupsOf(in []backup.SCIMMember) []any {
	out := make([]any, len(in))
	for i, g := range in {
		out[i] = map[string]any{"value": g.Value, "display": g.Display, "type": "direct", "$ref": q.base() + groupType.endpoint + "/" + g.Value}
	}
	return out
}
