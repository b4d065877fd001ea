#!/bin/sh
# Makes what docker-compose.yml needs and what nobody may share: passwords, the keys of what goes to Temporal, and certificates of a
# private authority, in deploy/secrets. It changes nothing that is there already. Needs openssl.
#
# The folder is closed to everybody else on this machine; the files in it are readable, because each container reads them as a
# user of its own.
set -eu
umask 022
cd "$(dirname "$0")"

command -v openssl >/dev/null || { echo "prepare: openssl is needed" >&2; exit 1; }
mkdir -p secrets secrets/tenants
chmod 0700 secrets

password() { # password FILE: 32 random bytes as hex, which need quoting nowhere
	[ -s "secrets/$1" ] || { openssl rand -hex 32 | tr -d '\n' >"secrets/.new" && mv secrets/.new "secrets/$1"; }
}

payload_keys() { # the keys of what goes to Temporal, in the form of `holdfastd payload-key new`
	[ -s secrets/payload_keys ] && return
	printf '{"version":1,"keys":[{"id":"%s","key":"%s","from":"%s"}]}\n' "$(openssl rand -hex 8)" "$(openssl rand -base64 32)" \
		"$(date -u +%Y-%m-%dT%H:%M:%SZ)" >secrets/.new
	mv secrets/.new secrets/payload_keys
}

authority() {
	[ -s secrets/deployment_ca ] && return
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -sha256 -subj "/CN=Holdfast deployment" \
		-addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
		-keyout secrets/deployment_ca_key -out secrets/deployment_ca 2>/dev/null
	chmod 0600 secrets/deployment_ca_key # no container needs it
}

certificate() { # certificate NAME: for the host NAME of the compose network
	[ -s "secrets/$1_certificate" ] && return
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
		-keyout "secrets/$1_certificate_key" -out secrets/.request 2>/dev/null
	printf 'subjectAltName=DNS:%s,DNS:localhost\nextendedKeyUsage=serverAuth\n' "$1" >secrets/.extensions
	openssl x509 -req -in secrets/.request -CA secrets/deployment_ca -CAkey secrets/deployment_ca_key -days 825 -sha256 \
		-set_serial "0x$(openssl rand -hex 16)" -extfile secrets/.extensions -out secrets/.new 2>/dev/null
	chmod 0644 "secrets/$1_certificate_key"
	mv secrets/.new "secrets/$1_certificate"
	rm -f secrets/.request secrets/.extensions
}

password postgres_password
password directory_admin_password
password directory_reader_password
payload_keys
authority
certificate directory
certificate vault
echo "deploy/secrets is complete. Next: deploy/README.md, or"
echo "  docker compose build && docker compose up -d"
