package test

import (
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	_ "modernc.org/sqlite"

	"github.com/holdfast-backup/holdfast/demo/stage"
)

// Somebody who got at the store's file can have it write down for him whatever passes through it, and put something else in its place. He can
// also lay down requests of his own making. What he cannot do is in the scripts.

// recorded is one exchange as it passed through the store.
type recorded struct {
	id, tenant, holder, connector string
	request, answer               []byte
	asked                         asked
	answered                      answered
}

// tapping keeps every first request and every first answer, for as long as the file lives.
const tapping = `
	CREATE TABLE tapped (id TEXT PRIMARY KEY, tenant TEXT, holder TEXT, connector TEXT, request BLOB, answer BLOB);
	CREATE TRIGGER tap_request AFTER INSERT ON key_request BEGIN
		INSERT OR IGNORE INTO tapped VALUES (NEW.id, NEW.tenant, NEW.holder, '', NEW.body, NULL);
	END;
	CREATE TRIGGER tap_answer AFTER UPDATE OF answer ON key_request BEGIN
		UPDATE tapped SET connector = NEW.answer_by, answer = NEW.answer WHERE id = NEW.id AND answer IS NULL;
	END`

// swapping puts what table swap has in the place of every answer.
const swapping = `
	CREATE TABLE swap (answer BLOB);
	CREATE TRIGGER swap_answer AFTER UPDATE OF answer ON key_request WHEN EXISTS (SELECT 1 FROM swap) BEGIN
		UPDATE key_request SET answer = (SELECT CASE WHEN json_extract(CAST(answer AS TEXT), '$.nonce') = '' THEN
			CAST(json_set(CAST(answer AS TEXT), '$.nonce', NEW.id) AS BLOB) ELSE answer END FROM swap) WHERE id = NEW.id;
	END`

// wiretapActs need the store's file.
var wiretapActs = map[string]act{
	// listens: from now on everything is recorded.
	"listens": func(w *world, _ []string) error { return w.change(tapping + ";" + swapping) },
	// picks TENANT PURPOSE: takes up the newest recorded exchange of this purpose that was not refused, and reads it as the page says.
	"picks": picks,
	// alters FIELD VALUE: writes something else into the picked request, and leaves its signature. "recipient" gets a key of his own.
	"alters": alters,
	// lay-request TENANT [HOLDER]: puts the picked request before the connectors of a tenant, or one of them, for another minute.
	"lay-request": lays,
	// let-it-age: waits until the picked request is too old for any clock.
	"let-it-age": func(w *world, _ []string) error {
		time.Sleep(time.Until(time.UnixMilli(w.plunder.exchange.asked.Expires).Add(11 * time.Second)))
		return nil
	},
	// swaps [renamed]: every connector's answer is replaced by the picked one; renamed, it carries the nonce of what was asked.
	"swaps": func(w *world, args []string) error {
		answer := w.plunder.exchange.answer
		if len(args) > 0 {
			unnamed := w.plunder.exchange.answered
			unnamed.Nonce = ""
			var err error
			if answer, err = json.Marshal(unnamed); err != nil {
				return err
			}
		}
		return errors.Join(w.change(`DELETE FROM swap`), w.change(`INSERT INTO swap VALUES (?)`, answer))
	},
	"swaps-no-more": func(w *world, _ []string) error { return w.change(`DELETE FROM swap`) },
	// deposits CONNECTOR KEYFILE: carries the picked share to CONNECTOR, in a deposit of his own that he signs with KEYFILE's identity.
	"deposits": deposits,
	// asks CONNECTOR PURPOSE GENERATION KEYFILE: asks CONNECTOR for something that reveals nothing, signed likewise.
	"asks": func(w *world, args []string) error {
		generation, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return err
		}
		return w.forge(args[3], asked{Tenant: stage.Tenant, Holder: args[0], Purpose: args[1], Generation: generation})
	},
	// sql STATEMENT: anything else.
	"sql": func(w *world, args []string) error { return w.change(args[0]) },
}

// store is Holdfast's own.
func (w *world) store() (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+w.Path("holdfast", "holdfast.db")+"?_pragma=busy_timeout(10000)&_pragma=foreign_keys(on)")
}

func (w *world) change(statement string, args ...any) error {
	db, err := w.store()
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(w.t.Context(), statement, args...)
	return err
}

func picks(w *world, args []string) error {
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		found, err := w.tapped(args[0], args[1])
		switch {
		case err != nil:
			return err
		case found != nil:
			w.plunder.exchange = *found
			w.say("%s of generation %d by %s, %d bytes of answer", args[1], found.asked.Generation, found.connector, len(found.answer))
			return nil
		case time.Since(began) > patience:
			return fmt.Errorf("no %s of %s was recorded", args[1], args[0])
		}
	}
}

// tapped is the newest recorded exchange that was not refused, nil when there is none.
func (w *world) tapped(tenant, purpose string) (*recorded, error) {
	db, err := w.store()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	r := recorded{}
	var identity string
	err = db.QueryRowContext(w.t.Context(), `SELECT t.id, t.tenant, t.holder, t.connector, t.request, t.answer, c.identity
		FROM tapped t JOIN connector c ON c.tenant = t.tenant AND c.name = t.connector
		WHERE t.tenant = ? AND json_extract(CAST(t.request AS TEXT), '$.purpose') = ? AND json_extract(CAST(t.answer AS TEXT), '$.refusal') IS NULL
		ORDER BY t.rowid DESC`, tenant, purpose).
		Scan(&r.id, &r.tenant, &r.holder, &r.connector, &r.request, &r.answer, &identity)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		r.asked, r.answered, err = understood(r.request, r.answer, identity)
	}
	return &r, err
}

func alters(w *world, args []string) error {
	var fields map[string]any
	if err := json.Unmarshal(w.plunder.exchange.request, &fields); err != nil {
		return err
	}
	switch field := args[0]; field {
	case "recipient":
		key, err := hpke.MLKEM768X25519().GenerateKey()
		if err != nil {
			return err
		}
		fields[field] = key.PublicKey().Bytes()
	case "expires":
		later, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		fields["issued"], fields[field] = time.Now().UnixMilli(), time.Now().Add(later).UnixMilli()
	case "generation":
		number, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		fields[field] = number
	case "nonce":
		fields[field] = hexNonce()
	default:
		fields[field] = args[1]
	}
	altered, err := json.Marshal(fields)
	w.plunder.altered = altered
	return err
}

// lays puts an altered request there once; what was picked may be laid as often as wanted.
func lays(w *world, args []string) error {
	holder, id, body := "", w.plunder.exchange.id, w.plunder.exchange.request
	if len(args) > 1 {
		holder = args[1]
	}
	if w.plunder.altered != nil {
		id, body, w.plunder.altered = hexNonce(), w.plunder.altered, nil
	}
	return w.lay(args[0], holder, id, body)
}

func (w *world) lay(tenant, holder, id string, body []byte) error {
	now := time.Now()
	if err := w.change(`DELETE FROM key_request WHERE id = ?`, id); err != nil {
		return err
	}
	return w.change(`INSERT INTO key_request (id, tenant, holder, body, created, expires, taken, answered, answer_by) VALUES (?, ?, ?, ?, ?, ?, 0, 0, '')`,
		id, tenant, holder, body, now.UnixMicro(), now.Add(time.Minute).UnixMicro())
}

func deposits(w *world, args []string) error {
	e := w.plunder.exchange
	return w.forge(args[1], asked{Tenant: e.tenant, Holder: args[0], Purpose: "deposit", Generation: e.asked.Generation, Check: e.asked.Check,
		Deposit: &handover{e.asked, e.answered, w.identityOf(e)}})
}

// forge signs a request with the identity in a file and lays it before its holder.
func (w *world) forge(keyFile string, q asked) error {
	k, err := keysIn(w.ts.MkAbs(keyFile))
	if err != nil {
		return err
	}
	now := time.Now()
	q.Version, q.WorkflowID, q.RunID, q.Nonce = 1, "key/"+q.Tenant, "1", hexNonce()
	q.Issued, q.Expires, q.Requester = now.UnixMilli(), now.Add(time.Minute).UnixMilli(), identityOf(k.identity)
	q.Signature = ed25519.Sign(k.identity, q.statement())
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	return w.lay(q.Tenant, q.Holder, q.Nonce, body)
}

// identityOf is who answered.
func (w *world) identityOf(e recorded) (identity string) {
	db, err := w.store()
	if err == nil {
		defer db.Close()
		err = db.QueryRowContext(w.t.Context(), `SELECT identity FROM connector WHERE tenant = ? AND name = ?`, e.tenant, e.connector).Scan(&identity)
	}
	w.ts.Check(err)
	return identity
}

// keysIn reads a connector's key file, or a worker's identity.
func keysIn(file string) (k keys, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return k, err
	}
	if block, _ := pem.Decode(content); block != nil {
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return k, err
		}
		return keys{identity: key.(ed25519.PrivateKey)}, nil
	}
	var form struct {
		Identity, Recipient []byte
		Generations         []struct {
			Number int64
			EKey   []byte
		}
	}
	if err := json.Unmarshal(content, &form); err != nil {
		return k, err
	}
	k = keys{identity: ed25519.NewKeyFromSeed(form.Identity), ekeys: map[int64][]byte{}}
	for _, g := range form.Generations {
		k.ekeys[g.Number] = g.EKey
	}
	k.recipient, err = hpke.MLKEM768X25519().NewPrivateKey(form.Recipient)
	return k, err
}
