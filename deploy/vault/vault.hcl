# A Vault of one server, over TLS, with its own folder.
storage "file" {
  path = "/vault/file"
}

listener "tcp" {
  address         = "0.0.0.0:8200"
  tls_cert_file   = "/run/secrets/vault_certificate"
  tls_key_file    = "/run/secrets/vault_certificate_key"
  tls_min_version = "tls13"
}

# Locking memory needs a capability that the container does not have; swap on this host should be off or encrypted.
disable_mlock = true
api_addr      = "https://vault:8200"
