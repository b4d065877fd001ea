package orchestrator

import (
	"context"
	"fmt"
	"os"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/payload"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// codec finds what encrypts and decrypts for this connection: the one that is given, else the profile's keys, else the profile's
// gateway. Nothing goes to Temporal in clear, so without any of them there is no connection.
func (o Options) codec(ctx context.Context) (converter.PayloadCodec, error) {
	switch p := o.Profile; {
	case o.Codec != nil:
		return o.Codec, nil
	case p.PayloadKeys != "":
		return payload.Open(ctx, func(context.Context) ([]byte, error) { return localSecret(p.PayloadKeys) })
	case p.Gateway != "":
		client, err := readapi.NewClient(readapi.ClientOptions{Gateway: p.Gateway, CAFile: p.CAFile, TokenFile: p.TokenFile})
		return gatewayCodec{client}, err
	}
	return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer,
		Message: "nothing encrypts here what goes to Temporal: neither a gateway nor payload keys are known",
		Hint:    "set HOLDFAST_GATEWAY with HOLDFAST_TOKEN_FILE, or HOLDFAST_PAYLOAD_KEYS=file:/path"}
}

// localSecret reads what an administrator's machine may refer to; a Vault is the workers' affair.
func localSecret(ref backup.SecretRef) ([]byte, error) {
	bad := func(what string, cause error) ([]byte, error) {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the payload keys " + what,
			Hint: "HOLDFAST_PAYLOAD_KEYS is file:/path or env:NAME", Cause: cause}
	}
	switch kind, name, _ := strings.Cut(string(ref), ":"); kind {
	case "env":
		if v := os.Getenv(name); v != "" {
			return []byte(v), nil
		}
		return bad("are not in the environment variable "+name, nil)
	case "file":
		info, err := os.Stat(name)
		if err == nil && info.Size() > payload.MaxRing {
			return bad("in "+name+" are too large for a key ring", nil)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return bad("in "+name+" cannot be read", err)
		}
		return b, nil
	}
	return bad("are named in a form that is not understood here", nil)
}

// gatewayCodec has the gateway encrypt and decrypt, for machines that hold no keys.
type gatewayCodec struct{ client *readapi.Client }

func (g gatewayCodec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	return exchange(g.client.Encode, payloads)
}

func (g gatewayCodec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	return exchange(g.client.Decode, payloads)
}

// exchange is bounded by the client's own time limit: a codec is given no context.
func exchange(ask func(context.Context, []byte) ([]byte, error), payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	body, err := protojson.Marshal(&commonpb.Payloads{Payloads: payloads})
	if err != nil {
		return nil, err
	}
	answer, err := ask(context.Background(), body)
	if err != nil {
		return nil, err
	}
	var got commonpb.Payloads
	if err := protojson.Unmarshal(answer, &got); err != nil || len(got.GetPayloads()) != len(payloads) {
		return nil, &backup.Error{Code: backup.CodeBadResponse, Fault: backup.FaultOurs, Message: "the gateway's codec answered something that is not its own",
			Hint: "is HOLDFAST_GATEWAY right?", Cause: fmt.Errorf("%d payloads asked, %d answered", len(payloads), len(got.GetPayloads()))}
	}
	return got.GetPayloads(), nil
}
