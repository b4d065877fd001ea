package connector

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func TestAKeyReachesTheProcessThatAsked(t *testing.T) {
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box)
		folder := t.TempDir()
		a := r.agent(r.key("hq"), folder)
		r.run(a)
		r.eventually("the connector connects", func() bool { return a.Status().Connected })

		got, err := r.release(r.broker())
		must(t, err)
		if got.Holder != "connector hq" || got.Requester != r.worker.Short() || !got.Until.After(got.At) {
			t.Fatalf("the release says %+v", got.Holder)
		}
		var line ReleaseLine
		must(t, json.Unmarshal(readFile(t, filepath.Join(folder, releasesFile)), &line))
		if line.Tenant != "acme" || line.RunID != "0195-run" || line.Requester != r.worker.Public() || line.Purpose != backup.PurposeBackup || line.Nonce != got.Nonce || line.Generation != 1 {
			t.Fatalf("the connector's receipt says %+v", line)
		}
		if taken, _ := box.KeyAnswer(t.Context(), line.Nonce); taken != nil {
			t.Fatal("the answer still lies in the mailbox")
		}
		if s := a.Status(); s.Releases != 1 || s.Refusals != 0 {
			t.Fatalf("the status line says %s", s)
		}
	})
}

func TestNobodyConnectedIsSaidAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box)
		b := r.broker()
		wantCode(t, b.Reachable(t.Context(), r.tenant, r.one()), backup.CodeNotConnected) // none pinned
		r.key("hq")
		began := time.Now()
		_, err := r.release(b)
		e := wantCode(t, err, backup.CodeNotConnected)
		if took := time.Since(began); took > time.Second {
			t.Fatalf("it took %s", took)
		}
		if !e.Retryable || e.Fault != backup.FaultCustomer || e.Hint == "" {
			t.Fatalf("not classified for a person: %+v", e)
		}
	})
}

// silent plays a connector that is connected, takes requests and never answers.
func (r *rig) silent(k *KeyFile) (took <-chan json.RawMessage) {
	ctx, cancel := context.WithCancel(context.Background())
	var polling sync.WaitGroup
	r.t.Cleanup(func() { cancel(); polling.Wait() })
	requests := make(chan json.RawMessage, 100)
	c := r.caller(k)
	must(r.t, greet(ctx, c))
	polling.Go(func() {
		for {
			taken, err := c.poll(ctx)
			if err != nil {
				return
			}
			for _, t := range taken {
				requests <- t
			}
		}
	})
	return requests
}

func TestNoAnswerIsAskedAgainAndThenNotConnected(t *testing.T) {
	r := newRig(t, newMemory())
	took := r.silent(r.key("hq"))
	_, err := r.release(r.broker(func(o *BrokerOptions) { o.Patience = 150 * time.Millisecond }))
	if e := wantCode(t, err, backup.CodeNotConnected); !e.Retryable {
		t.Fatal("a time-out may pass by itself")
	}
	r.eventually("every ask reached the connector", func() bool { return len(took) == maxAsks })
	nonces := map[string]bool{}
	recipients := map[string]bool{}
	for range maxAsks {
		q, err := ParseRequest(<-took)
		must(t, err)
		nonces[q.Nonce], recipients[string(q.Recipient)] = true, true
	}
	if len(nonces) != maxAsks || len(recipients) != maxAsks {
		t.Fatalf("asks share nonces or recipient keys: %d, %d", len(nonces), len(recipients))
	}
}

func TestTheCallersContextEndsTheWait(t *testing.T) {
	r := newRig(t, newMemory())
	r.silent(r.key("hq"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := r.broker().Release(ctx, r.tenant, r.one(), r.use()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestAConnectorThatDiesInMidReleaseIsReplaced(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box)
		standing := r.agent(r.key("standing"), t.TempDir())
		dying := r.dying(r.key("dying"))
		result := make(chan error, 1)
		go func() {
			_, err := r.release(r.broker(func(o *BrokerOptions) { o.Patience = 7 * time.Second }))
			result <- err
		}()
		<-dying // it took the request and is dead now
		began := time.Now()
		r.run(standing)
		must(t, <-result)
		took := time.Since(began)
		t.Logf("replaced after %s", took.Round(time.Millisecond))
		if took > 9*time.Second || standing.Status().Releases != 1 {
			t.Fatalf("replaced after %s, released %d", took, standing.Status().Releases)
		}
	})
}

// dying plays a connector that is connected, takes one request and is never heard of again.
func (r *rig) dying(k *KeyFile) (dead <-chan struct{}) {
	c := r.caller(k)
	must(r.t, greet(context.Background(), c))
	taken := make(chan struct{})
	var polling sync.WaitGroup
	r.t.Cleanup(polling.Wait)
	polling.Go(func() {
		defer close(taken)
		for {
			if requests, err := c.poll(context.Background()); err != nil || len(requests) > 0 {
				return
			}
		}
	})
	return taken
}

func TestARefusalReachesTheWorkerWithItsReason(t *testing.T) {
	r := newRig(t, newMemory())
	a, _ := r.start("hq")
	use := r.use()
	use.Purpose = "curiosity"
	_, err := r.broker().Release(t.Context(), r.tenant, r.one(), use)
	wantCode(t, err, backup.CodeInternal) // it does not even leave the worker
	must(t, a.SetPolicy(&Policy{Purposes: []backup.KeyPurpose{backup.PurposeRestore}}))
	_, err = r.release(r.broker())
	if e := wantCode(t, err, backup.CodeDenied); e.Retryable || e.Hint == "" || !strings.Contains(e.Message, "policy does not allow the purpose backup") {
		t.Fatalf("not what a person needs: %+v", e)
	}
	use.Purpose = backup.PurposeRestore
	got, err := r.broker().Release(t.Context(), r.tenant, r.one(), use)
	must(t, err)
	clear(got.EKey)
}

func TestAWorkerThatIsNotPinnedGetsNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box)
		r.start("hq")
		r.worker, _ = NewIdentity()
		_, err := r.release(r.broker())
		wantCode(t, err, backup.CodeDenied)
	})
}

func TestFiftyAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box)
		r.start("hq")
		r.start("branch")
		b := r.broker()
		var group sync.WaitGroup
		nonces := make(chan string, 50)
		for range 50 {
			group.Go(func() {
				got, err := r.release(b)
				if err != nil {
					t.Error(err)
				}
				nonces <- got.Nonce
			})
		}
		group.Wait()
		close(nonces)
		seen := map[string]bool{}
		for nonce := range nonces {
			seen[nonce] = true
		}
		if len(seen) != 50 {
			t.Fatalf("%d different nonces of 50 releases", len(seen))
		}
	})
}

func TestTheGatewayMayRestart(t *testing.T) {
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box)
		a, _ := r.start("hq")
		r.stop()
		r.eventually("the connector sees that the gateway is gone", func() bool { return !a.Status().Connected })
		if a.Status().Problem == "" {
			t.Fatal("the status line does not say why")
		}
		r.startGateway()
		r.eventually("the connector comes back", func() bool { return a.Status().Connected })
		_, err := r.release(r.broker())
		must(t, err)
	})
}

// TestTheEKeyIsNowhere looks for the ekey in everything that passes between the parties or stays behind, and proves first that
// the search finds it where it is.
func TestTheEKeyIsNowhere(t *testing.T) {
	box := newMemory()
	r := newRig(t, box)
	folder := t.TempDir()
	hq := r.key("hq")
	a := r.agent(hq, folder)
	r.run(a)
	branch := r.startWith(r.emptyKey("branch"))
	r.eventually("connected", func() bool { return a.Status().Connected })
	b := r.broker()
	must(t, b.Share(t.Context(), r.tenant, r.one(), "", r.use()))
	got, err := r.release(b)
	must(t, err)
	proofs, err := b.Prove(t.Context(), r.tenant, r.one(), r.use())
	must(t, err)
	var said bytes.Buffer
	fmt.Fprintf(&said, "%v %+v %#v %s %v %+v %#v\n", hq, hq, hq, a.Status(), hq.Generations, hq.Generations, hq.Generations[0])
	fmt.Fprintf(&said, "%v %+v %#v %s\n", a.key, a.key, a.key, branch.Status())
	nine := r.one()
	nine.Generation = 9
	_, refused := b.Release(t.Context(), r.tenant, nine, r.use())
	fmt.Fprintf(&said, "%v %+v %+v\n", refused, backup.AsError(refused), proofs)
	got.EKey = nil
	fmt.Fprintf(&said, "%+v\n", got)
	a.writeStatus(true)

	if !holds(readFile(t, filepath.Join(folder, keyFileName)), r.ekey) {
		t.Fatal("the search does not find the ekey in the key file")
	}
	places := append([][]byte{said.Bytes()}, box.all...)
	for _, name := range []string{releasesFile, noncesFile, statusFile} {
		places = append(places, readFile(t, filepath.Join(folder, name)))
	}
	places = append(places, readFile(t, filepath.Join(folder, eventsFile)))
	for _, e := range r.logs.All() {
		text, _ := json.Marshal(e.ContextMap())
		places = append(places, []byte(e.Message), text)
	}
	private, err := hq.sealed.private.Bytes()
	must(t, err)
	check, err := backup.CheckKey(r.ekey, "acme", 1)
	must(t, err)
	for _, place := range places {
		for _, secret := range [][]byte{r.ekey, hq.identity.private.Seed(), private, check.Seed()} {
			if holds(place, secret) {
				t.Fatalf("a secret shows in: %s", place)
			}
		}
	}
	if len(box.all) < 8 || len(r.logs.All()) == 0 {
		t.Fatal("there was nothing to search")
	}
}

// holds looks for a secret raw, in hex, in base64 of any alignment and as Go prints bytes.
func holds(place, secret []byte) bool {
	forms := [][]byte{secret, []byte(hex.EncodeToString(secret)), []byte(fmt.Sprint(secret)[1:60])}
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		std := base64.StdEncoding.EncodeToString(padded)
		forms = append(forms, []byte(std[4:len(std)-4]), []byte(base64.URLEncoding.EncodeToString(padded)[4:len(std)-4]))
	}
	lower := bytes.ToLower(place)
	for i, f := range forms {
		if bytes.Contains(place, f) || i == 1 && bytes.Contains(lower, f) {
			return true
		}
	}
	return false
}

func BenchmarkRelease(b *testing.B) {
	for _, name := range []string{"memory", "sqlstore"} {
		b.Run(name, func(b *testing.B) {
			var box testBox = newMemory()
			if name == "sqlstore" {
				box = newStore(b)
			}
			r := newRig(b, box, func(o *GatewayOptions) { o.PollFor = 25 * time.Second })
			r.start("hq")
			broker := r.broker()
			for b.Loop() {
				_, err := r.release(broker)
				must(b, err)
			}
		})
	}
}

func BenchmarkSealAndOpen(b *testing.B) {
	r := newRig(b, newMemory())
	for b.Loop() {
		q, to := r.request()
		release, err := sealFor(q, r.ekey, 1)
		must(b, err)
		_, err = to.open(q, *release)
		must(b, err)
	}
}
