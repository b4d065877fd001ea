# What a connector may do in the customer's own Vault when it keeps the ekey there (--ekey-source 'vault:kv/holdfast/ekey-{generation}#ekey'):
# put a generation where none is, read it for each use, and destroy it with every version of it. It cannot overwrite one: "update" is
# not granted.

path "kv/data/holdfast/ekey-*" {
  capabilities = ["create", "read"]
}

path "kv/metadata/holdfast/ekey-*" {
  capabilities = ["delete"]
}

# To know whether its own token still lives, and to keep it alive.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}
