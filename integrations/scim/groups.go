package scim

import (
	"encoding/json"
	"net/http"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// keepGroup fills the fields of a group from its document, which has no members.
func keepGroup(g backup.SCIMGroup, doc document) (backup.SCIMGroup, error) {
	delete(doc, "members")
	if err := groupType.check(doc); err != nil {
		return g, err
	}
	g.DisplayName, _ = doc["displayName"].(string)
	g.ExternalID, _ = doc["externalId"].(string)
	if len(g.DisplayName) > maxIndexed || len(g.ExternalID) > maxIndexed {
		return g, badValue("displayName and externalId may have %d bytes at most.", maxIndexed)
	}
	g.Doc, g.Index = encode(doc), groupType.index(doc)
	return g, nil
}

// sentGroup reads a whole group; of a member that is listed twice the last word counts.
func (q *request) sentGroup() (document, []backup.SCIMMember, error) {
	doc, err := q.sent(groupType)
	if err != nil {
		return nil, nil, err
	}
	members, err := parseMembers(doc["members"])
	if err != nil {
		return nil, nil, err
	}
	var c memberChanges
	c.set(members)
	return doc, c.changes().Add, nil
}

func (q *request) createGroup(string) error {
	p, err := q.projection(groupType)
	if err != nil {
		return err
	}
	doc, members, err := q.sentGroup()
	if err != nil {
		return err
	}
	g, err := keepGroup(backup.SCIMGroup{ID: newID()}, doc)
	if err != nil {
		return err
	}
	if g, err = q.store.CreateGroup(q.context(), q.scope, g, members); err != nil {
		return err
	}
	q.changed()
	return q.answerGroup(http.StatusCreated, g, p)
}

func (q *request) getGroup(id string) error {
	p, err := q.projection(groupType)
	if err != nil {
		return err
	}
	g, err := q.store.Group(q.context(), q.scope, id)
	if err != nil || q.notModified(g.Version) {
		return err
	}
	return q.answerGroup(http.StatusOK, g, p)
}

func (q *request) putGroup(id string) error {
	p, err := q.projection(groupType)
	if err != nil {
		return err
	}
	doc, members, err := q.sentGroup()
	if err != nil {
		return err
	}
	g, err := q.changeGroup(id, func(g backup.SCIMGroup) (backup.SCIMGroup, backup.SCIMMembers, error) {
		g, err := keepGroup(g, doc)
		return g, backup.SCIMMembers{Clear: true, Add: members}, err
	})
	if err != nil {
		return err
	}
	return q.answerGroup(http.StatusOK, g, p)
}

// patchGroup answers without a body, so that a large group need not be read, unless the peer asked for attributes.
func (q *request) patchGroup(id string) error {
	p, err := q.projection(groupType)
	if err != nil {
		return err
	}
	body, err := readBody(q.w, q.r, q.options.MaxBody)
	if err != nil {
		return err
	}
	ops, err := parsePatch(body)
	if err != nil {
		return err
	}
	g, err := q.changeGroup(id, func(g backup.SCIMGroup) (backup.SCIMGroup, backup.SCIMMembers, error) { return patchedGroup(g, ops) })
	if err != nil {
		return err
	}
	if len(p.only) > 0 {
		return q.answerGroup(http.StatusOK, g, p)
	}
	q.w.Header().Set("ETag", etag(g.Version))
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

func patchedGroup(g backup.SCIMGroup, ops []operation) (backup.SCIMGroup, backup.SCIMMembers, error) {
	doc, err := decode(g.Doc)
	if err != nil {
		return g, backup.SCIMMembers{}, err
	}
	p := patch{resourceType: groupType, doc: doc}
	if err := p.apply(ops); err != nil {
		return g, backup.SCIMMembers{}, err
	}
	g, err = keepGroup(g, p.doc)
	return g, p.members.changes(), err
}

func (q *request) changeGroup(id string, change func(backup.SCIMGroup) (backup.SCIMGroup, backup.SCIMMembers, error)) (backup.SCIMGroup, error) {
	version, err := q.ifMatch(func() (int64, error) {
		g, err := q.store.Group(q.context(), q.scope, id)
		return g.Version, err
	})
	if err != nil {
		return backup.SCIMGroup{}, err
	}
	g, err := q.store.ChangeGroup(q.context(), q.scope, id, version, change)
	if err == nil {
		q.changed()
	}
	return g, err
}

func (q *request) deleteGroup(id string) error {
	version, err := q.ifMatch(func() (int64, error) {
		g, err := q.store.Group(q.context(), q.scope, id)
		return g.Version, err
	})
	if err != nil {
		return err
	}
	if err := q.store.DeleteGroup(q.context(), q.scope, id, version); err != nil {
		return err
	}
	q.changed()
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (q *request) answerGroup(status int, g backup.SCIMGroup, p projection) error {
	first, err := q.firstMembers(g, p)
	if err != nil {
		return err
	}
	q.head(status, q.base()+groupType.endpoint+"/"+g.ID, g.Version)
	return q.writeGroup(g, first, p)
}

// firstMembers reads the first page before anything is written, so that an error is still an answer.
func (q *request) firstMembers(g backup.SCIMGroup, p projection) ([]backup.SCIMMember, error) {
	if !p.wants("members") {
		return nil, nil
	}
	return q.store.GroupMembers(q.context(), q.scope, g.ID, "", memberPage)
}

// writeGroup writes a group page by page of its members: a group of 50,000 takes no more memory than one of 1,000.
func (q *request) writeGroup(g backup.SCIMGroup, page []backup.SCIMMember, p projection) error {
	doc, err := decode(g.Doc)
	if err != nil {
		return err
	}
	head, err := json.Marshal(p.cut(groupType.show(doc, q.base(), g.ID, g.Version, g.Created, g.Modified)))
	if err != nil {
		return err
	}
	if len(page) == 0 {
		_, err := q.w.Write(head)
		return err
	}
	_, _ = q.w.Write(head[:len(head)-1])
	_, _ = q.w.Write([]byte(`,"members":[`))
	for separator := ""; len(page) > 0; separator = "," {
		b, err := json.Marshal(q.showMembers(page, p))
		if err != nil {
			return err
		}
		_, _ = q.w.Write([]byte(separator))
		if _, err := q.w.Write(b[1 : len(b)-1]); err != nil {
			return err
		}
		if len(page) < memberPage {
			break
		}
		if page, err = q.store.GroupMembers(q.context(), q.scope, g.ID, page[len(page)-1].Value, memberPage); err != nil {
			return err
		}
	}
	_, err = q.w.Write([]byte("]}"))
	return err
}

func (q *request) showMembers(page []backup.SCIMMember, p projection) []any {
	out := make([]any, len(page))
	for i, m := range page {
		shown := map[string]any{"value": m.Value}
		if m.Display != "" {
			shown["display"] = m.Display
		}
		if m.Type != "" {
			shown["type"] = m.Type
			shown["$ref"] = q.base() + "/" + m.Type + "s/" + m.Value
		}
		// The parts that are wanted are the same as for an attribute in a document.
		out[i] = p.cutMember(shown)
	}
	return out
}
