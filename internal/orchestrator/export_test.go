package orchestrator

import "go.temporal.io/sdk/temporal"

// AddressOf lets a test open a second namespace on the same server.
func AddressOf(c *Client) string { return c.address }

// TenantAttributes are what a workflow of the tenant starts with.
func TenantAttributes(tenant string) temporal.SearchAttributes {
	return attributes(tenant, "microsoft365")
}
