# What a Holdfast worker may do: unwrap and re-wrap the ekeys of its tenants, and nothing else.
#
# It makes, reads, rotates, exports and destroys no key, and reads no secret. "encrypt" is not granted either: with the capability
# "create" it would make a key of any name that is mistyped. A worker that serves some tenants only gets their names in place of the
# star, for example transit/decrypt/t-acme.

path "transit/decrypt/t-*" {
  capabilities = ["update"]
}

path "transit/rewrap/t-*" {
  capabilities = ["update"]
}

# To know whether its own token still lives, and to keep it alive.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}
