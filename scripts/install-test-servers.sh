#!/bin/sh
# Installs the servers that the tests and the demo talk to: OpenLDAP (slapd and its client tools);
# Samba, which is an Active Directory domain controller; PostgreSQL, which may hold the store;
# Chromium, which looks at Temporal's Web UI as a person does; and a C compiler, which Go's race
# detector links with.
# It may be run again and again: what is there is left alone. It needs a Debian or Ubuntu machine and root, or sudo.
#
# usage: scripts/install-test-servers.sh
set -eu

# Several test packages may ask at once: the first one installs, the others wait for it here and then find everything there.
exec 9<"$0"
flock 9

say() { echo "install-test-servers: $*"; }
fail() { say "$*" >&2; exit 1; }

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		fail "this needs root: run it as root or install sudo"
	fi
}

# have NAME...: slapd lives in /usr/sbin, which is not on everybody's PATH.
have() {
	for name in "$@"; do
		PATH="$PATH:/usr/sbin:/sbin" command -v "$name" >/dev/null || return 1
	done
}

policy=/usr/sbin/policy-rc.d
our_policy=no
drop_policy() {
	if [ "$our_policy" = yes ]; then
		our_policy=no
		as_root rm -f "$policy"
	fi
}
trap drop_policy EXIT
trap 'exit 1' INT TERM HUP

# Debian starts a service as soon as its package is configured, unless this policy answers 101: the tests start their own
# servers, on loopback, and nobody asked for a directory on port 389.
keep_services_stopped() {
	[ ! -e "$policy" ] || return 0
	our_policy=yes
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
	as_root chmod 755 "$policy"
}

# apt_install PACKAGE...: quiet when it works, the whole output when it does not.
apt_install() {
	have apt-get || fail "there is no apt-get here: install $* by hand"
	log=$(mktemp)
	keep_services_stopped
	if ! { as_root apt-get update -qq &&
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
			-o DPkg::Lock::Timeout=300 "$@"; } >"$log" 2>&1 </dev/null; then
		cat "$log" >&2
		rm -f "$log"
		fail "apt-get could not install $*"
	fi
	rm -f "$log"
	drop_policy
	say "installed $*"
}

if have slapd slapadd ldapsearch; then
	say "slapd and ldap-utils are there already"
else
	apt_install slapd ldap-utils
fi

if have samba samba-tool && [ -d /usr/share/samba/setup ] && [ -e /usr/lib/python3/dist-packages/samba/samdb.py ]; then
	say "Samba is there already"
else
	apt_install samba samba-ad-dc samba-ad-provision samba-dsdb-modules samba-vfs-modules winbind python3-samba
fi

# Debian keeps the programs of each version of PostgreSQL in a folder of their own, off the PATH.
have_postgres() {
	for folder in /usr/lib/postgresql/*/bin; do
		if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then
			return 0
		fi
	done
	have initdb postgres
}

if have_postgres; then
	say "PostgreSQL is there already"
else
	apt_install postgresql
fi

if have gcc && [ -e /usr/include/stdlib.h ]; then
	say "a C compiler is there already"
else
	apt_install gcc libc6-dev
fi

if have chromium; then
	say "Chromium is there already"
else
	apt_install chromium
fi
