#!/bin/sh
# An OpenLDAP directory with a few people, over TLS only, for trying Holdfast: everything a tenant's file asks for is here.
#
# Reads   /run/secrets/directory_admin_password   password of cn=admin,dc=acme,dc=example, who may change everything
#         /run/secrets/directory_reader_password  password of cn=holdfast,ou=services,dc=acme,dc=example, who reads people
#         /run/secrets/directory_certificate      PEM certificate for the name this server is reached by
#         /run/secrets/directory_certificate_key  its private key
#         /run/secrets/deployment_ca              PEM certificate of the authority that signed it
# Keeps   /var/lib/directory                      the database; people.ldif is loaded when it is empty
#
# DIRECTORY_SECRETS, DIRECTORY_STATE, DIRECTORY_PEOPLE and DIRECTORY_LISTEN name other places.
set -eu
umask 077
PATH=$PATH:/usr/sbin

secrets=${DIRECTORY_SECRETS:-/run/secrets}
state=${DIRECTORY_STATE:-/var/lib/directory}
people=${DIRECTORY_PEOPLE:-/usr/local/share/directory/people.ldif}
listen=${DIRECTORY_LISTEN:-ldaps://0.0.0.0:6636}
suffix=dc=acme,dc=example
reader=cn=holdfast,ou=services,$suffix

for name in directory_admin_password directory_reader_password directory_certificate directory_certificate_key deployment_ca; do
	[ -s "$secrets/$name" ] || { echo "the secret $name is missing or empty: run deploy/prepare.sh" >&2; exit 1; }
done

# -n and -T keep the password out of arguments; only its salted hash is written.
hash_of() { slappasswd -n -T "$secrets/$1"; }

mkdir -p "$state/db" "$state/run"
cat >"$state/slapd.conf" <<CONF
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile $state/run/slapd.pid
argsfile $state/run/slapd.args
TLSCACertificateFile $secrets/deployment_ca
TLSCertificateFile $secrets/directory_certificate
TLSCertificateKeyFile $secrets/directory_certificate_key
TLSProtocolMin 3.3
security simple_bind=128
database mdb
maxsize 1073741824
suffix "$suffix"
rootdn "cn=admin,$suffix"
rootpw $(hash_of directory_admin_password)
directory $state/db
index objectClass,uid,mail,entryUUID eq
limits dn.exact="$reader" size=unlimited size.prtotal=unlimited
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="$reader" read by * none
CONF

if [ ! -e "$state/db/data.mdb" ]; then
	{
		cat "$people"
		printf '\ndn: %s\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\ncn: holdfast\nuserPassword: %s\n' \
			"$reader" "$(hash_of directory_reader_password)"
	} >"$state/first.ldif"
	# A load that breaks off leaves no database behind, so the next start begins again.
	slapadd -q -f "$state/slapd.conf" -l "$state/first.ldif" || { rm -f "$state"/db/*.mdb; exit 1; }
	rm -f "$state/first.ldif"
fi

exec slapd -d none -f "$state/slapd.conf" -h "$listen"
