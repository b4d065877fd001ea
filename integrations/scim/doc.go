// Package scim is a SCIM 2.0 service provider (RFC 7643, RFC 7644) that Okta and Microsoft Entra ID push people to, and the directory
// that the import of people reads what was pushed from.
//
// The resource types, their schemas, the documents of discovery and the validation of whole resources are github.com/elimity-com/scim's; filters
// and paths are parsed by github.com/scim2/filter-parser. Before and behind them stand layers of ours, because the two stop short of what
// is sent and expected on the wire: dialects are made plain before validation (dialect.go), PATCH is applied here (patch.go),
// filters are resolved against the schemas and handed to the store as they are (filter.go), answers are cut to what was asked for
// (projection.go), and limits, entity tags, back-pressure and errors are the handler's.
package scim
