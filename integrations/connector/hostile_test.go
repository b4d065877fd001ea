package connector

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// alterations changes each field of a struct in turn, so that a field that is added later cannot be forgotten.
func alterations[T any](t *testing.T, whole T, each func(field string, altered T)) {
	t.Helper()
	kind := reflect.TypeFor[T]()
	for i := range kind.NumField() {
		altered := reflect.New(kind).Elem()
		altered.Set(reflect.ValueOf(whole))
		switch f := altered.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(alteredText(f.String()))
		case reflect.Int, reflect.Int64:
			f.SetInt(f.Int() + 1)
		case reflect.Uint16:
			f.SetUint(f.Uint() + 1)
		case reflect.Slice:
			if f.Type() == reflect.TypeFor[[]int]() {
				f.Set(reflect.ValueOf(append(slices.Clone(f.Interface().([]int)), 7)))
				break
			}
			b := bytes.Clone(f.Bytes())
			if len(b) == 0 {
				b = []byte{0}
			}
			b[len(b)/2] ^= 1
			f.SetBytes(b)
		case reflect.Pointer:
			continue // what they point to is altered by its own fields
		default:
			t.Fatalf("cannot alter %s", kind.Field(i).Name)
		}
		each(kind.Field(i).Name, altered.Interface().(T))
	}
}

// alteredText keeps the text's shape, so that the signature has to find the change and not the parser.
func alteredText(s string) string {
	if strings.HasPrefix(s, identityPrefix) {
		other, _ := NewIdentity()
		return other.Public()
	}
	if s == "" {
		return "a"
	}
	last := byte('a')
	if s[len(s)-1] == 'a' {
		last = 'b'
	}
	return s[:len(s)-1] + string(last)
}

// asked sends a request's wire form through mailbox, gateway and TLS to the agent that runs, and returns what it answers.
func (r *rig) asked(q Request) *Answer {
	r.t.Helper()
	body, err := q.wire()
	must(r.t, err)
	before := r.logs.FilterMessageSnippet("no key request").Len()
	row := backup.KeyRequest{ID: q.Nonce, Tenant: "acme", Body: body, Created: time.Now(), Expires: time.Now().Add(time.Minute)}
	must(r.t, r.box.PutKeyRequest(context.Background(), row))
	var answer *Answer
	r.eventually("the connector judges a request", func() bool {
		kept, err := r.box.KeyAnswer(context.Background(), row.ID)
		must(r.t, err)
		if kept != nil {
			a, err := ParseAnswer(kept.Body)
			must(r.t, err)
			answer = &a
		}
		return kept != nil || r.logs.FilterMessageSnippet("no key request").Len() > before
	})
	must(r.t, r.box.DeleteKeyRequest(context.Background(), row.ID))
	return answer
}

func TestEveryAlteredFieldOfARequestIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box)
		a, _ := r.start("hq")
		fields := 0
		good, _ := r.request()
		alterations(t, good, func(field string, altered Request) {
			fields++
			if answer := r.asked(altered); answer != nil && answer.Release != nil {
				t.Errorf("a request with another %s was answered with the key", field)
			}
		})
		if fields != reflect.TypeFor[Request]().NumField()-2 { // all but To and Deposit, see holder_test.go
			t.Fatalf("only %d fields were altered", fields)
		}
		if s := a.Status(); s.Releases != 0 {
			t.Fatalf("%d releases", s.Releases)
		}
		if answer := r.asked(good); answer == nil || answer.Release == nil {
			t.Fatal("the unaltered request was refused, so the test proves nothing")
		}
	})
}

func TestASwappedRecipientIsRefused(t *testing.T) {
	r := newRig(t, newMemory())
	r.start("hq")
	good, _ := r.request()
	enemy, err := newRecipient()
	must(t, err)
	stranger, err := NewIdentity()
	must(t, err)

	swapped := good
	swapped.Recipient = enemy.public()
	resigned := swapped
	resigned.Requester = stranger.Public()
	resigned.Signature = stranger.sign(resigned.statement())
	forged := swapped
	forged.Signature = stranger.sign(forged.statement())
	for name, q := range map[string]Request{"swapped": swapped, "signed by a stranger": resigned, "in the worker's name": forged} {
		q.Nonce = good.Nonce
		answer := r.asked(q)
		if answer == nil || answer.Refusal == nil || answer.Refusal.Code != backup.CodeDenied {
			t.Errorf("%s: answered with %+v", name, answer)
		}
	}
}

func TestWhatIsSignedButNotAllowedIsRefused(t *testing.T) {
	r := newRig(t, newMemory())
	a, _ := r.start("hq")
	hour := time.Hour.Milliseconds()
	for reason, change := range map[string]func(*Request){
		"another tenant": func(q *Request) { q.Tenant = "other" },
		"expired":        func(q *Request) { q.Issued -= hour; q.Expires -= hour },
		"in the future":  func(q *Request) { q.Issued += hour; q.Expires += hour },
		"purpose":        func(q *Request) { q.Purpose = "curiosity" },
		"generation":     func(q *Request) { q.Generation = 2 },
	} {
		q, _ := r.request(change)
		answer := r.asked(q)
		if answer == nil || answer.Refusal == nil || !strings.Contains(answer.Refusal.Reason, reason) {
			t.Errorf("%s: answered with %+v", reason, answer)
		}
	}
	if a.Status().Releases != 0 || a.Status().Refusals != 5 {
		t.Fatalf("the status line says %s", a.Status())
	}
}

func TestARequestIsAnsweredOnceEvenAfterARestart(t *testing.T) {
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box)
		folder := t.TempDir()
		k := r.key("hq")
		stop := r.run(r.agent(k, folder))
		q, _ := r.request()
		if answer := r.asked(q); answer == nil || answer.Release == nil {
			t.Fatal("the first was refused")
		}
		refusedAgain := func(when string) {
			t.Helper()
			if answer := r.asked(q); answer == nil || answer.Refusal == nil || !strings.Contains(answer.Refusal.Reason, "seen before") {
				t.Fatalf("%s: answered with %+v", when, answer)
			}
		}
		refusedAgain("at once")
		stop()
		r.run(r.agent(k, folder))
		refusedAgain("after a restart")
		if lines := bytes.Count(readFile(t, filepath.Join(folder, releasesFile)), []byte("\n")); lines != 1 {
			t.Fatalf("%d receipts of one release", lines)
		}
	})
}

func TestAnAnswerMeansOneRequestOnly(t *testing.T) {
	r := newRig(t, newMemory())
	k := r.key("hq")
	b := r.broker()
	good, to := r.request()
	release, err := sealFor(good, r.ekey, 1)
	must(t, err)
	answer := answerTo(good, k, Answer{Release: release})
	accept := func(q Request, to *recipient, a Answer) error {
		body, err := a.wire()
		must(t, err)
		_, err = b.accept(t.Context(), q, to, &backup.KeyAnswer{Body: body})
		return err
	}
	must(t, accept(good, to, answer))

	other, toOther := r.request()
	wantCode(t, accept(other, toOther, answer), backup.CodeBadResponse)
	relabelled := answer
	relabelled.Nonce = other.Nonce
	wantCode(t, accept(other, toOther, relabelled), backup.CodeBadResponse)
	// Even a connector's own key, in an enemy's hand, cannot turn an old release into one for another process.
	wantCode(t, accept(other, toOther, answerTo(other, k, Answer{Release: release})), backup.CodeBadResponse)
	// Nor is it good for the same recipient under an altered request.
	alterations(t, good, func(field string, altered Request) {
		if field != "Signature" && accept(altered, to, answerTo(altered, k, Answer{Release: release})) == nil {
			t.Errorf("opened for a request with another %s", field)
		}
	})
	late := good
	late.Issued, late.Expires = good.Issued-60_000, good.Issued-1
	wantCode(t, accept(late, to, answerTo(late, k, Answer{Release: release})), backup.CodeNotConnected)
}

func TestEveryAlteredFieldOfAnAnswerIsRefused(t *testing.T) {
	r := newRig(t, newMemory())
	k := r.key("hq")
	r.key("branch")
	q, to := r.request()
	release, err := sealFor(q, r.ekey, 1)
	must(t, err)
	answers := map[string]Answer{
		"release": answerTo(q, k, Answer{Release: release}),
		"refusal": answerTo(q, k, Answer{Refusal: denied("reason")}),
	}
	refuse := func(what string, a Answer) {
		t.Helper()
		body, err := a.wire()
		must(t, err)
		_, err = r.broker().accept(t.Context(), q, to, &backup.KeyAnswer{Body: body})
		if !backup.HasCode(err, backup.CodeBadResponse) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for kind, whole := range answers {
		alterations(t, whole, func(field string, a Answer) { refuse(kind+" "+field, a) })
	}
	alterations(t, *release, func(field string, altered Release) {
		a := answers["release"]
		a.Release = &altered
		refuse("release."+field, a)
	})
	alterations(t, Refusal{backup.CodeDenied, "reason"}, func(field string, altered Refusal) {
		a := answers["refusal"]
		a.Refusal = &altered
		refuse("refusal."+field, a)
	})
	stranger, nobody, branch, abroad := *k, *k, *k, *k
	stranger.identity, err = NewIdentity()
	must(t, err)
	nobody.Connector, branch.Connector, abroad.Tenant = "nobody", "branch", "other"
	refuse("signed by a stranger", answerTo(q, &stranger, Answer{Release: release}))
	refuse("by a connector that is not pinned", answerTo(q, &nobody, Answer{Release: release}))
	refuse("in another connector's name", answerTo(q, &branch, Answer{Release: release}))
	refuse("of another tenant", answerTo(q, &abroad, Answer{Release: release}))
	wrongKey, err := sealFor(q, r.ekey, 2)
	must(t, err)
	asked, _ := r.request(func(q *Request) { q.Generation = 1 })
	body, err := answerTo(asked, k, Answer{Release: wrongKey}).wire()
	must(t, err)
	_, err = r.broker().accept(t.Context(), asked, to, &backup.KeyAnswer{Body: body})
	wantCode(t, err, backup.CodeBadResponse)
}

func TestAForgedAnswerIsAskedAgain(t *testing.T) {
	box := newMemory()
	r := newRig(t, box)
	k := r.key("hq")
	c := r.caller(k)
	must(t, greet(t.Context(), c))
	done := make(chan error, 1)
	go func() {
		for {
			requests, err := c.poll(t.Context())
			if err != nil {
				done <- err
				return
			}
			for _, wire := range requests {
				q, _ := ParseRequest(wire)
				stranger := *k
				stranger.identity, _ = NewIdentity()
				if err := c.answer(t.Context(), answerTo(q, &stranger, Answer{Refusal: denied("no")})); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	_, err := r.release(r.broker())
	wantCode(t, err, backup.CodeBadResponse)
	if n := len(box.all); n != 2*maxAsks {
		t.Fatalf("%d requests and answers, want %d", n, 2*maxAsks)
	}
	r.stop()
	<-done
}

// TestADiskThatIsFullReleasesNothing: without a receipt, or without having noted the nonce, nothing leaves.
func TestADiskThatIsFullReleasesNothing(t *testing.T) {
	r := newRig(t, newMemory())
	for i, broken := range []func(*Agent) error{
		func(a *Agent) error { return a.releases.file.Close() },
		func(a *Agent) error { return a.nonces.file.Close() },
	} {
		a := r.agent(r.key(fmt.Sprint("hq", i)), t.TempDir())
		must(t, broken(a))
		q, _ := r.request()
		if word := a.decide(t.Context(), q); word.Release != nil || word.Refusal == nil {
			t.Fatal("released without a receipt on disk")
		}
		if err := a.Close(); err == nil {
			t.Fatal("the file was not closed, so the test proves nothing")
		}
	}
}

func TestTooManyRequestsAreRefusedAndForgottenLater(t *testing.T) {
	now := time.Now()
	path := filepath.Join(t.TempDir(), noncesFile)
	g, err := openReplayGuard(path, now)
	must(t, err)
	for range maxNonces {
		g.seen[newNonce()] = now.Add(time.Minute).UnixMilli()
	}
	if _, err := g.use(newNonce(), now.Add(time.Minute), now); !errors.Is(err, errTooManyNonces) {
		t.Fatalf("got %v", err)
	}
	later := now.Add(2 * time.Minute)
	g.lines = maxLines // due for a rewrite
	nonce := newNonce()
	fresh, err := g.use(nonce, later.Add(time.Minute), later)
	if must(t, err); !fresh || len(g.seen) != 1 {
		t.Fatalf("fresh %t, %d remembered", fresh, len(g.seen))
	}
	must(t, g.close())
	if content := readFile(t, path); bytes.Count(content, []byte("\n")) != 1 || !strings.HasPrefix(string(content), nonce) {
		t.Fatalf("the file holds %q", content)
	}
}

func TestATornReleaseLogGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), releasesFile)
	must(t, writeSynced(path, []byte(`{"connector":"hq"}`+"\n"+`{"connec`)))
	log, err := openLineLog(path)
	must(t, err)
	must(t, log.append(ReleaseLine{Connector: "hq", Nonce: "1"}))
	must(t, log.append(ReleaseLine{Connector: "hq", Nonce: "2"}))
	must(t, log.close())
	lines := strings.Split(strings.TrimSpace(string(readFile(t, path))), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for i, nonce := range map[int]string{2: "1", 3: "2"} {
		var line ReleaseLine
		if must(t, json.Unmarshal([]byte(lines[i]), &line)); line.Nonce != nonce {
			t.Fatalf("line %d is %q", i, lines[i])
		}
	}
}

// TestAnAgentTrustsThePinnedCAAlone: a gateway with another CA's certificate learns nothing and gets nothing.
func TestAnAgentTrustsThePinnedCAAlone(t *testing.T) {
	r := newRig(t, newMemory())
	k := r.key("hq")
	other, err := sandbox.NewCA("gateway's CA") // the same name, another key
	must(t, err)
	k.GatewayCA = other.PEM()
	a := r.agent(k, t.TempDir())
	r.run(a)
	r.eventually("the agent says why it is not connected", func() bool { return strings.Contains(a.Status().Problem, "certificate") })
	wantCode(t, r.broker().Reachable(t.Context(), r.tenant, r.one()), backup.CodeNotConnected)
}

func TestAnAgentFollowsNoRedirect(t *testing.T) {
	r := newRig(t, newMemory())
	r.stop()
	moved := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		moved++
		http.Redirect(w, q, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	cert, err := r.ca.Issue("127.0.0.1")
	must(t, err)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	defer server.Close()
	k := r.key("hq")
	k.Gateway = server.URL
	if err := greet(t.Context(), r.caller(k)); err == nil || moved != 1 {
		t.Fatalf("%v after %d calls", err, moved)
	}
}
