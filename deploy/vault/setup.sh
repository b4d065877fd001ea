#!/bin/sh
# Prepares a Vault (or OpenBao: VAULT=bao) for the key method kms: the transit engine, AppRole, the shipped policies and two roles.
# Needs VAULT_ADDR and a token that may do that. It can be run again. Secret ids are made by the commands that it prints, not by it.
set -eu
cd "$(dirname "$0")"
vault=${VAULT:-vault}

mounted() { "$vault" "$1" list -format=json | grep -q "\"$2/\":"; }

mounted secrets transit || "$vault" secrets enable transit
mounted auth approle || "$vault" auth enable approle
role() { # role NAME MAX-TTL
	"$vault" policy write "$1" "$1.hcl"
	"$vault" write "auth/approle/role/$1" token_policies="$1" token_no_default_policy=true token_ttl=20m token_max_ttl="$2"
}
role holdfast-worker 24h
role holdfast-provisioning 1h

id() { "$vault" read -field=role_id "auth/approle/role/$1/role-id"; }
cat <<TEXT

Make the secret ids where the worker can read them, and nobody else:
  (umask 077; $vault write -f -field=secret_id auth/approle/role/holdfast-worker/secret-id >/etc/holdfast/vault-worker)
  (umask 077; $vault write -f -field=secret_id auth/approle/role/holdfast-provisioning/secret-id >/etc/holdfast/vault-provisioning)

and put into the tenant's file:
  key:
    method: kms
    kms:
      address: $VAULT_ADDR
      login: {method: approle, roleID: $(id holdfast-worker), secretID: file:/etc/holdfast/vault-worker}
      provisioning: {method: approle, roleID: $(id holdfast-provisioning), secretID: file:/etc/holdfast/vault-provisioning}
TEXT
