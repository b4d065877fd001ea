# What workers need beside holdfast-worker.hcl when transit keys are made, rotated and destroyed by hand, that is, when a tenant has no
# key.kms.provisioning: to look at a key (never at its material), and to let the server make a wrapped ekey.

path "transit/keys/t-*" {
  capabilities = ["read"]
}

path "transit/datakey/wrapped/t-*" {
  capabilities = ["update"]
}
