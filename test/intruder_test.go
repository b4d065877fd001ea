package test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/workflows"
)

// The intruder speaks to the gateway in code of his own, written from docs/connector-protocol.md alone, so that the page is tried, too.

// plunder is what the intruder got hold of.
type plunder struct {
	call     recordedCall
	exchange recorded
	altered  []byte // the exchange's request, for one use
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
		c, err := w.hello(args, time.Now())
		return w.tell(c, err)
	},
	// record KEYFILE TENANT CONNECTOR: listens to a genuine call, which arrives.
	"record": func(w *world, args []string) (err error) {
		w.plunder.call, err = w.hello(args, time.Now())
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
		c, err := w.hello(args, time.Now().Add(-2*time.Minute))
		return w.tell(c, err)
	},
	// answer KEYFILE TENANT CONNECTOR AS: a well signed call that brings an answer in the name of the tenant AS.
	"answer": func(w *world, args []string) error {
		k, err := keysIn(w.ts.MkAbs(args[0]))
		if err != nil {
			return err
		}
		return w.tell(sign(k, args[1], args[2], "/connector/v1/answer", forgedAnswer(args[3], args[2]), time.Now()), nil)
	},
	"read":   reads,
	"decide": decides,
	// enrols TOKENFILE KEYFILE: shows a stolen token in the name of KEYFILE's identity.
	"enrols": enrols,
}

// hello is the call KEYFILE TENANT CONNECTOR.
func (w *world) hello(args []string, at time.Time) (recordedCall, error) {
	k, err := keysIn(w.ts.MkAbs(args[0]))
	if err != nil {
		return recordedCall{}, err
	}
	body, err := k.hello(args[1], args[2])
	return sign(k, args[1], args[2], "/connector/v1/hello", body, at), err
}

// sign makes a call as the page's section "Calls to the gateway" says.
func sign(k keys, tenant, connector, path, body string, at time.Time) recordedCall {
	nonce, sum, ms := hexNonce(), sha256.Sum256([]byte(body)), at.UnixMilli()
	statement := fields("holdfast/connector-call/v1", http.MethodPost, path, tenant, connector, ms, nonce, sum[:])
	header := http.Header{"Content-Type": {"application/json"}}
	header.Set("Holdfast-Tenant", tenant)
	header.Set("Holdfast-Connector", connector)
	header.Set("Holdfast-Time", strconv.FormatInt(ms, 10))
	header.Set("Holdfast-Nonce", nonce)
	header.Set("Holdfast-Signature", base64.RawURLEncoding.EncodeToString(ed25519.Sign(k.identity, statement)))
	return recordedCall{path, header, []byte(body)}
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

// enrols makes the call of the page's section "Enrolment".
func enrols(w *world, args []string) error {
	text, err := os.ReadFile(w.ts.MkAbs(args[0]))
	if err != nil {
		return err
	}
	t, err := readToken(string(text))
	if err != nil {
		return err
	}
	k, err := keysIn(w.ts.MkAbs(args[1]))
	if err != nil {
		return err
	}
	body, err := t.enrolment(k, time.Now())
	if err != nil {
		return err
	}
	return w.send(http.MethodPost, "/connector/v1/enroll", http.Header{"Content-Type": {"application/json"}}, body)
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
