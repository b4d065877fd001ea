# What Holdfast's provisioning may do: make, rotate, retire and destroy the transit keys of tenants, and let the server make a wrapped
# ekey. It cannot unwrap one: "datakey/wrapped" shows no plain key, and "decrypt", "export" and "backup" are not granted.

# The star takes what is below a key too: rotate, config and trim. The parameters keep out what must not be: a key that is exportable or
# not derived, and "import" of a key that somebody knows.
path "transit/keys/t-*" {
  capabilities = ["create", "read", "update", "delete"]

  allowed_parameters = {
    "type"                   = ["aes256-gcm96"]
    "derived"                = [true]
    "min_decryption_version" = [] # a generation is retired
    "min_encryption_version" = []
    "min_available_version"  = []
    "deletion_allowed"       = [true] # a key is shredded
  }
}

path "transit/datakey/wrapped/t-*" {
  capabilities = ["update"]
}

# To know whether its own token still lives, and to keep it alive.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}
