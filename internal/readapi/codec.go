package readapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// MaxCodec bounds what is asked of the codec at once, and its answer, in bytes of JSON. Temporal takes requests of 4 MB, which are a
// third longer in base64.
const MaxCodec = 8 << 20

// Encode asks the gateway to encrypt payloads; body and answer are temporal.api.common.v1.Payloads as JSON.
func (c *Client) Encode(ctx context.Context, body []byte) ([]byte, error) {
	return c.post(ctx, EncodePath, body)
}

// Decode asks the gateway to decrypt payloads.
func (c *Client) Decode(ctx context.Context, body []byte) ([]byte, error) {
	return c.post(ctx, DecodePath, body)
}

func (c *Client) post(ctx context.Context, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, badSetting("the gateway's address cannot be used", "HOLDFAST_GATEWAY", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, MaxCodec+1))
	switch {
	case err != nil:
		return nil, c.unreachable(ctx, err)
	case len(answer) > MaxCodec:
		return nil, c.badAnswer(fmt.Errorf("more than %d MiB", MaxCodec>>20))
	case res.StatusCode != http.StatusOK:
		return nil, c.failure(res, answer)
	}
	return answer, nil
}
