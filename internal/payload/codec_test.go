package payload

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func payloadOf(text string) *commonpb.Payload {
	return &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain"), "messageType": []byte("secret-type")}, Data: []byte(text)}
}

func sealOne(t testing.TB, c converter.PayloadCodec, p *commonpb.Payload) *commonpb.Payload {
	t.Helper()
	sealed, err := c.Encode([]*commonpb.Payload{p})
	if err != nil || len(sealed) != 1 {
		t.Fatalf("%v, %v", sealed, err)
	}
	return sealed[0]
}

func openOne(c converter.PayloadCodec, p *commonpb.Payload) (*commonpb.Payload, error) {
	opened, err := c.Decode([]*commonpb.Payload{p})
	if err != nil {
		return nil, err
	}
	return opened[0], nil
}

func TestSealAndOpen(t *testing.T) {
	c := NewCodec(NewKeyring(noon))
	for _, p := range []*commonpb.Payload{payloadOf(`{"name":"Anna"}`), payloadOf(""), {}, payloadOf(string(bytes.Repeat([]byte{0}, 2<<20)))} {
		before := proto.Clone(p)
		sealed := sealOne(t, c, p)
		if !proto.Equal(p, before) {
			t.Error("sealing changed the payload itself")
		}
		if string(sealed.Metadata["encoding"]) != "binary/encrypted" || string(sealed.Metadata["encryption-key-id"]) != c.ring.Load().IDs()[0] || len(sealed.Metadata) != 2 {
			t.Errorf("metadata %q", sealed.Metadata)
		}
		if want := proto.Size(p) + Overhead; len(sealed.Data) != want {
			t.Errorf("%d bytes, want %d", len(sealed.Data), want)
		}
		if bytes.Contains(sealed.Data, []byte("secret-type")) || bytes.Contains(sealed.Data, []byte("Anna")) {
			t.Error("the payload is in clear")
		}
		if proto.Equal(sealed, sealOne(t, c, p)) {
			t.Error("sealed twice, it is the same")
		}
		if again := sealOne(t, c, sealed); again != sealed {
			t.Error("what is sealed was sealed again")
		}
		if opened := must(openOne(c, sealed))(t); !proto.Equal(opened, p) {
			t.Errorf("opened: %v", opened)
		}
		if plain := must(openOne(c, p))(t); plain != p {
			t.Error("what was never sealed is changed by opening")
		}
	}
}

// knownAnswer holds "a known answer" as JSON with the encoding json/plain, sealed with 32 bytes of 0x2a under the id a1b2c3d4.
const knownAnswer = "01e5f5e287cd3cd6e18884243deea452ad2989a71860ac354975487bf20f0651f4a7016f77cbe0971b2f3ceb" +
	"0f2fb0e7d528d844ce020d1f8e483a2962db8ae1d0455b6be100d8ff1aff2b73f5002e592506b93abaad6f"

// The format is what doc.go says: this was made once, and must be readable for ever.
func TestKnownAnswer(t *testing.T) {
	k := key{ID: "a1b2c3d4", Key: bytes.Repeat([]byte{0x2a}, KeySize), From: noon}
	data := must(hex.DecodeString(knownAnswer))(t)
	c := NewCodec(&Keyring{[]key{k}})
	opened, err := openOne(c, &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("binary/encrypted"), "encryption-key-id": []byte("a1b2c3d4")}, Data: data})
	if err != nil || string(opened.GetData()) != `"a known answer"` || string(opened.GetMetadata()["encoding"]) != "json/plain" {
		t.Errorf("%v, %v", opened, err)
	}
}

// Whatever is changed in a sealed payload, it does not open.
func TestAlteredPayloads(t *testing.T) {
	ring := must(NewKeyring(noon).Rotate(noon.Add(time.Hour)))(t)
	c := NewCodec(ring)
	sealed := sealOne(t, c, payloadOf("the truth"))
	refused := func(what string, p *commonpb.Payload) {
		t.Helper()
		if opened, err := openOne(c, p); !backup.HasCode(err, backup.CodeWrongKey) || errors.Is(err, ErrNoKey) {
			t.Errorf("%s: %v, %v", what, opened, err)
		}
	}
	for i := range sealed.Data {
		p := proto.Clone(sealed).(*commonpb.Payload)
		p.Data[i] ^= 1
		refused("a bit", p)
		p.Data = sealed.Data[:i]
		refused("a shorter one", p)
	}
	for _, id := range []string{ring.IDs()[0], "", "../../x", "A B"} {
		p := proto.Clone(sealed).(*commonpb.Payload)
		p.Metadata[MetadataKeyID] = []byte(id)
		refused("the key id "+id, p)
	}
	// A ring in which another key has the same id.
	other := NewKeyring(noon)
	other.keys[0].ID = ring.Current(time.Now())
	if _, err := openOne(NewCodec(other), sealed); !backup.HasCode(err, backup.CodeWrongKey) {
		t.Errorf("another key opens it: %v", err)
	}
	if _, err := openOne(NewCodec(NewKeyring(noon)), sealed); !errors.Is(err, ErrNoKey) || !backup.AsError(err).Retryable {
		t.Errorf("without the key: %v", err)
	}
}

// source is a key file.
type source struct {
	mu    sync.Mutex
	ring  *Keyring
	err   error
	delay time.Duration
	reads int
}

func (s *source) set(ring *Keyring, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring, s.err = ring, err
}

func (s *source) slow(delay time.Duration) (readings int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = delay
	return s.reads
}

func (s *source) load(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	ring, err, delay := s.ring, s.err, s.delay
	s.reads++
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return ring.Marshal()
}

// A rotation reaches running processes without a restart, whichever of them hears of it first; a source that fails changes nothing.
func TestRotationWithoutRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := NewKeyring(time.Now())
		s := &source{ring: old}
		early, late := must(Open(t.Context(), s.load))(t), must(Open(t.Context(), s.load))(t)
		before := sealOne(t, early, payloadOf("before"))
		time.Sleep(10 * time.Second)
		rotated := must(old.Rotate(time.Now()))(t)
		s.set(rotated, nil)

		time.Sleep(2 * refreshEvery)
		_ = sealOne(t, early, payloadOf("starts the reading"))
		synctest.Wait()
		after := sealOne(t, early, payloadOf("after"))
		if got := string(after.Metadata[MetadataKeyID]); got != rotated.IDs()[1] {
			t.Errorf("sealed with %s after a rotation, want %s", got, rotated.IDs()[1])
		}
		if p := must(openOne(late, after))(t); string(p.Data) != "after" {
			t.Errorf("%v", p)
		}
		if p := must(openOne(late, before))(t); string(p.Data) != "before" {
			t.Errorf("the old key does not open any more: %v", p)
		}

		s.set(nil, errors.New("the disk is gone"))
		time.Sleep(2 * refreshEvery)
		for range 3 {
			_ = sealOne(t, late, payloadOf("x"))
			synctest.Wait()
		}
		if p := must(openOne(late, after))(t); string(p.Data) != "after" {
			t.Errorf("%v", p)
		}
	})
}

// Payloads of an unknown key do not ask the source without end, and never wait for long.
func TestUnknownKeyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{ring: NewKeyring(time.Now()), delay: time.Hour}
		foreign := sealOne(t, NewCodec(NewKeyring(time.Now())), payloadOf("x"))
		if _, err := Open(t.Context(), s.load); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a source that never answers: %v", err)
		}
		s.slow(0)
		c := must(Open(t.Context(), s.load))(t)
		reads := s.slow(time.Hour)
		time.Sleep(time.Minute)
		began := time.Now()
		for range 20 {
			one := time.Now()
			if _, err := openOne(c, foreign); !errors.Is(err, ErrNoKey) {
				t.Fatal(err)
			}
			if took := time.Since(one); took > refreshWait {
				t.Errorf("waited %v", took)
			}
		}
		if got, most := s.slow(0)-reads, 2+int(time.Since(began)/loadTimeout); got > most {
			t.Errorf("%d readings in %v", got, time.Since(began))
		}
		time.Sleep(2 * loadTimeout)
	})
}

func TestConcurrentUse(t *testing.T) {
	s := &source{ring: NewKeyring(time.Now())}
	c := must(Open(t.Context(), s.load))(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				sealed, err := c.Encode([]*commonpb.Payload{payloadOf("x"), payloadOf("y")})
				if err == nil {
					_, err = c.Decode(sealed)
				}
				if err != nil {
					t.Error(err)
					return
				}
				c.refresh(0)
			}
		})
	}
	all.Wait()
}

func FuzzOpen(f *testing.F) {
	c := NewCodec(NewKeyring(noon))
	f.Add([]byte(Encoding), []byte(c.ring.Load().IDs()[0]), sealOne(f, c, payloadOf("x")).Data)
	f.Add([]byte("json/plain"), []byte(nil), []byte("x"))
	f.Fuzz(func(t *testing.T, encoding, id, data []byte) {
		p := &commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: encoding, MetadataKeyID: id}, Data: data}
		opened, err := openOne(c, p)
		if err == nil && opened != p && string(encoding) != Encoding {
			t.Error("something else than a sealed payload was opened")
		}
		if err != nil && !backup.HasCode(err, backup.CodeWrongKey) {
			t.Errorf("not classified: %v", err)
		}
	})
}

func BenchmarkSealAndOpen(b *testing.B) {
	c := NewCodec(NewKeyring(noon))
	p := payloadOf(string(bytes.Repeat([]byte{'x'}, 1000)))
	b.SetBytes(1000)
	for b.Loop() {
		if _, err := openOne(c, sealOne(b, c, p)); err != nil {
			b.Fatal(err)
		}
	}
}
