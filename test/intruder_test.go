package test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	_ "modernc.org/sqlite"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/workflows"
)

// The intruder speaks to the gateway in code of his own, written from docs/connector-protocol.md alone, so that the page is tried, too.

// plunder is what the intruder got hold of.
type plunder struct {
	call    recordedCall
	request backup.KeyRequest
}

// recordedCall is a signed call as it went over the wire.
type recordedCall struct {
	path   string
	header http.Header
	body   []byte
}

// intruderActs are the attacks. Those over HTTP say how they were answered: a status and a code.
var intruderActs = map[string]act{
	// hello KEYFILE TENANT CONNECTOR: a call in the name of CONNECTOR, signed with the identity of KEYFILE.
	"hello": func(w *world, args []string) error {
		c, err := w.sign(args[0], args[1], args[2], "/connector/v1/hello", "{}", time.Now())
		return w.tell(c, err)
	},
	// record KEYFILE TENANT CONNECTOR: listens to a genuine call, which arrives.
	"record": func(w *world, args []string) (err error) {
		w.plunder.call, err = w.sign(args[0], args[1], args[2], "/connector/v1/hello", "{}", time.Now())
		return w.tell(w.plunder.call, err)
	},
	// replay [PATH]: sends what was recorded once more, as it is, or to another path.
	"replay": func(w *world, args []string) error {
		c := w.plunder.call
		if len(args) > 0 {
			c.path = args[0]
		}
		return w.tell(c, nil)
	},
	// stale KEYFILE TENANT CONNECTOR: a genuine call that was held back for two minutes.
	"stale": func(w *world, args []string) error {
		c, err := w.sign(args[0], args[1], args[2], "/connector/v1/hello", "{}", time.Now().Add(-2*time.Minute))
		return w.tell(c, err)
	},
	// answer KEYFILE TENANT CONNECTOR AS: a well signed call that brings an answer in the name of the tenant AS.
	"answer": func(w *world, args []string) error {
		c, err := w.sign(args[0], args[1], args[2], "/connector/v1/answer", forgedAnswer(args[3], args[2]), time.Now())
		return w.tell(c, err)
	},
	"read":   reads,
	"decide": decides,
	// With the store's file in hand.
	"copy-request": copies,
	"lay-request":  lays,
	"let-it-age":   grows,
}

// sign makes a call as the page's section "Calls to the gateway" says.
func (w *world) sign(keyFile, tenant, connector, path, body string, at time.Time) (recordedCall, error) {
	var key struct{ Identity []byte }
	content, err := os.ReadFile(w.ts.MkAbs(keyFile))
	if err == nil {
		err = json.Unmarshal(content, &key)
	}
	if err != nil {
		return recordedCall{}, err
	}
	nonce, sum, ms := hexNonce(), sha256.Sum256([]byte(body)), at.UnixMilli()
	statement := fields("holdfast/connector-call/v1", http.MethodPost, path, tenant, connector, ms, nonce, sum[:])
	header := http.Header{"Content-Type": {"application/json"}}
	header.Set("Holdfast-Tenant", tenant)
	header.Set("Holdfast-Connector", connector)
	header.Set("Holdfast-Time", strconv.FormatInt(ms, 10))
	header.Set("Holdfast-Nonce", nonce)
	header.Set("Holdfast-Signature", base64.RawURLEncoding.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(key.Identity), statement)))
	return recordedCall{path, header, []byte(body)}, nil
}

// fields is a statement: each field preceded by its length in four bytes.
func fields(all ...any) (statement []byte) {
	for _, f := range all {
		var b []byte
		switch f := f.(type) {
		case string:
			b = []byte(f)
		case []byte:
			b = f
		case int64:
			b = binary.BigEndian.AppendUint64(nil, uint64(f))
		}
		statement = append(binary.BigEndian.AppendUint32(statement, uint32(len(b))), b...)
	}
	return statement
}

func hexNonce() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// forgedAnswer refuses a request that may be there in somebody's name.
func forgedAnswer(tenant, connector string) string {
	b, _ := json.Marshal(map[string]any{"version": 1, "tenant": tenant, "connector": connector, "nonce": hexNonce(),
		"refusal": map[string]string{"code": "destroyed", "reason": "all is lost"}, "signature": make([]byte, ed25519.SignatureSize)})
	return string(b)
}

// tell sends a call and says how it was answered.
func (w *world) tell(c recordedCall, err error) error {
	if err != nil {
		return err
	}
	return w.send(http.MethodPost, c.path, c.header, c.body)
}

func (w *world) send(method, path string, header http.Header, body []byte) error {
	profile, client, err := w.gateway()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	r, err := http.NewRequest(method, profile.Gateway+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header = header
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	var failure struct{ Code string }
	_ = json.Unmarshal(content, &failure) // an answer that is none has no code
	w.say("%d %s", answer.StatusCode, failure.Code)
	if answer.StatusCode != http.StatusOK && bytes.Contains(content, []byte(stage.Domain)) {
		return fmt.Errorf("the refusal tells of the tenant: %s", content)
	}
	return nil
}

// gateway reaches the gateway as anybody could who knows its certificate.
func (w *world) gateway() (readapi.Profile, *http.Client, error) {
	profile, err := w.Profile()
	if err != nil {
		return profile, nil, err
	}
	pem, err := os.ReadFile(profile.CAFile)
	if err != nil {
		return profile, nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return profile, &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}, nil
}

// reads asks the read API for PATH, with the bearer TOKEN when there is one; "prefix" is the first half of the right one.
func reads(w *world, args []string) error {
	header := http.Header{}
	if len(args) > 1 {
		token := args[1]
		if token == "prefix" {
			b, err := os.ReadFile(w.Path("holdfast", "read.token"))
			if err != nil {
				return err
			}
			token = string(b[:32])
		}
		header.Set("Authorization", "Bearer "+token)
	}
	return w.send(http.MethodGet, args[0], header, nil)
}

// decides sends a decision as a signal, past the command line: decide WORKFLOW TASK ACTION BY.
func decides(w *world, args []string) error {
	profile, err := w.Profile()
	if err != nil {
		return err
	}
	c, err := orchestrator.Dial(w.t.Context(), orchestrator.Options{Profile: profile, Env: noEnvironment{}})
	if err != nil {
		return err
	}
	defer c.Close()
	d := backup.Decision{Task: args[1], Action: backup.Action(args[2]), By: args[3], Reason: "because I say so"}
	return c.Temporal().SignalWorkflow(w.t.Context(), args[0], "", workflows.DecideSignal, d)
}

// copies waits for a key request of a tenant in the store, and copies it.
func copies(w *world, args []string) error {
	db, err := w.store()
	if err != nil {
		return err
	}
	defer db.Close()
	r := &w.plunder.request
	for began := time.Now(); time.Since(began) < patience; time.Sleep(20 * time.Millisecond) {
		err = db.QueryRow(`SELECT id, body FROM key_request WHERE tenant = ? AND answered = 0`, args[0]).Scan(&r.ID, &r.Body)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	return err
}

// lays puts the copied request before the connectors of a tenant, when nothing of it is left, for another minute.
func lays(w *world, args []string) error {
	db, err := w.store()
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(`DELETE FROM key_request WHERE id = ?`, w.plunder.request.ID); err != nil {
		return err
	}
	now := time.Now()
	_, err = db.Exec(`INSERT INTO key_request (id, tenant, body, created, expires, taken, answered, answer_by) VALUES (?, ?, ?, ?, ?, 0, 0, '')`,
		w.plunder.request.ID, args[0], w.plunder.request.Body, now.UnixMicro(), now.Add(time.Minute).UnixMicro())
	return err
}

// grows waits until the copied request is too old for any clock.
func grows(w *world, _ []string) error {
	var r struct{ Expires int64 }
	if err := json.Unmarshal(w.plunder.request.Body, &r); err != nil {
		return err
	}
	time.Sleep(time.Until(time.UnixMilli(r.Expires).Add(11 * time.Second)))
	return nil
}

// store is Holdfast's own, for an intruder who got at its file.
func (w *world) store() (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+w.Path("holdfast", "holdfast.db")+"?_pragma=busy_timeout(10000)&_pragma=foreign_keys(on)")
}
