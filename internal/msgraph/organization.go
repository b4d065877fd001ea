package msgraph

import (
	"context"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Organization reads the company's name, for a greeting. A refusal is no obstacle, because nothing else needs it: known is false then.
func (c *Client) Organization(ctx context.Context) (name string, known bool, err error) {
	var answer struct {
		Value []struct {
			DisplayName string `json:"displayName"`
		} `json:"value"`
	}
	err = c.ReadJSON(ctx, Call{URL: c.At("$select=id,displayName", "organization")}, &answer)
	switch {
	case backup.HasCode(err, backup.CodeMissingRole):
		return "", false, nil
	case err != nil:
		return "", false, err
	case len(answer.Value) == 0:
		return "", false, BadResponse("Microsoft Graph lists no organization", nil)
	}
	return Plain(answer.Value[0].DisplayName, 80), true, nil
}
