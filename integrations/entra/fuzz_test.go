package entra

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// A position that can be read is one that was written: it says where to go on, and is the same when it is written and read again.
func FuzzReadPosition(f *testing.F) {
	f.Add([]byte(`{"v":1,"of":"a","made":"2026-11-23T10:00:00Z","link":"/users/delta?$deltatoken=x","sums":{"calls":3}}`))
	f.Add([]byte(`{"v":2,"link":"/users/delta?x","groups":{"links":["/groups/delta?y"],"nest":{"a":["b"],"b":null},"again":["c"],"price":7}}`))
	f.Add([]byte(`{"v":2,"link":"/x","groups":{"nest":{}}}`))
	f.Add([]byte(`{"v":1,"link":""}`))
	f.Add([]byte(`{"v":1,"link":"x","more":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := readPosition(raw)
		if err != nil {
			if !backup.HasCode(err, backup.CodeCursorExpired) {
				t.Fatal(err)
			}
			return
		}
		if p.Version != cursorVersion || p.Link == "" {
			t.Fatalf("%+v leads nowhere", p)
		}
		written := p.encode()
		again, err := readPosition(written)
		if err != nil || string(again.encode()) != string(written) {
			t.Fatalf("%s became %+v, %v", written, again, err)
		}
	})
}

// Whatever a user of Graph looks like, it is refused, or becomes an entry that has an id and is not larger than the store takes.
func FuzzReadPerson(f *testing.F) {
	f.Add([]byte(user(1, `,"jobTitle":"x","onPremisesExtensionAttributes":{"extensionAttribute3":"y"},"proxyAddresses":["SMTP:a@b","smtp:c@d","x"]`)))
	f.Add([]byte(`{"id":"A","@removed":{"reason":"changed"}}`))
	f.Add([]byte(`{"id":"A","proxyAddresses":["","smtp:",":"],"businessPhones":["1","1"]}`))
	f.Add([]byte(`{"ID":"a","assignedLicenses":[1,null]}`))
	names := []string{"businessphones", "extensionattribute3", "jobtitle"}
	w := wanted{Config: backup.EntraConfig{Licensed: true, Attributes: map[string][]string{"jobTitle": {"x"}}}, Attributes: names}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := readPerson(raw, names)
		if err != nil {
			if !backup.HasCode(err, backup.CodeBadResponse) {
				t.Fatal(err)
			}
			return
		}
		w.selects(p, nil)
		e := w.entry(p, nil, "")
		if p.ID == "" || e.ID != p.ID || e.ID != strings.ToLower(e.ID) {
			t.Fatalf("%s has the id %q", raw, e.ID)
		}
		if len(e.Aliases) > mostValues || len(e.Attributes) > mostValues || e.Problem != backup.BadEntry && len(e.DisplayName) > longestValue {
			t.Fatalf("an entry of %d addresses and %d attributes", len(e.Aliases), len(e.Attributes))
		}
	})
}

// Each request of a batch is answered once: what is not among them, or comes again, is an error, and what is not answered stays open.
func FuzzBatchAnswers(f *testing.F) {
	f.Add([]byte(`[{"id":"0","status":200,"body":{}},{"id":"1","status":404,"headers":{"Retry-After":"3"},"body":{"error":{"code":"x"}}},{"id":"2","status":429}]`))
	f.Add([]byte(`[{"id":"-1","status":200},{"id":"9","status":200},{"id":"0","status":200},{"id":"0","status":200}]`))
	f.Add([]byte(`[{"id":"1","status":-5,"body":null}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var said []innerAnswer
		if json.Unmarshal(raw, &said) != nil {
			return
		}
		b := &openBatch{requests: []innerCall{{path: "/a"}, {path: "/b"}, {path: "/c"}}, answers: make([]inner, 3), done: make([]bool, 3)}
		taken := 0
		for _, a := range said {
			if b.take(a) == nil {
				taken++
			}
		}
		for i, done := range b.done {
			if done {
				taken--
			}
			if a := b.answers[i]; !done && (a.body != nil || a.refusal != nil) || a.body != nil && a.refusal != nil {
				t.Fatalf("answer %d: done %v, %+v", i, done, a)
			}
		}
		if taken != 0 {
			t.Fatalf("%d more answers were taken than requests made", taken)
		}
	})
}

// Whatever a group's changes look like, they are refused, or leave one word of each member and groups whose ids are ids.
func FuzzGroupChange(f *testing.F) {
	f.Add([]byte(`{"id":"G","members@delta":[{"@odata.type":"#microsoft.graph.user","id":"` + id(1) + `"},{"id":"` + id(1) + `","@removed":{"reason":"deleted"}}]}`))
	f.Add([]byte(`{"id":"g","members@delta":[{"@odata.type":"#microsoft.graph.group","id":"` + id(2) + `"},{"@odata.type":"#microsoft.graph.device","id":"x"}]}`))
	f.Add([]byte(`{"id":"g","@removed":{"reason":"changed"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := newSurvey(nil, nest{})
		if err := s.take(raw); err != nil {
			if !backup.HasCode(err, backup.CodeBadResponse) {
				t.Fatal(err)
			}
			return
		}
		s.settle()
		for g, moves := range s.moves {
			for i := range moves[1:] {
				if g != strings.ToLower(g) || compareIDs(moves[i].id, moves[i+1].id) >= 0 {
					t.Fatalf("%s: %v", g, moves)
				}
			}
		}
		for outer, inner := range s.nest {
			for _, g := range inner {
				if !guid.MatchString(g) || len(s.nest.within(outer)) < 1 {
					t.Fatalf("%s holds %s", outer, g)
				}
			}
		}
	})
}
