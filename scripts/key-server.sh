#!/bin/sh
# Builds the OpenBao server that the tests and the demo start as the Vault of a customer, once per version, and prints its path.
# The version is the digest of the nested module's own files; finished builds are kept in the user's cache.
set -eu
cd "$(dirname "$0")/../internal/sandbox/keyserver/server"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/holdfast"
version=$(cat ./*.go go.mod go.sum | sha256sum | cut -c1-12)
binary="$cache/keyserver-$version"
if [ ! -x "$binary" ]; then
	mkdir -p "$cache"
	total=$(go list -deps . 2>/dev/null | wc -l)
	echo "Building the key server (once; about 4 minutes on two cores, seconds when Go has it cached) ..." >&2
	began=$(date +%s)
	status="$cache/.build-$$"
	trap 'rm -f "$status" "$binary.$$"' EXIT
	# -v names every package as it is compiled: that is the progress.
	{ CGO_ENABLED=0 go build -v -trimpath -ldflags '-s -w' -o "$binary.$$" . 2>&1 || echo failed >"$status"; } |
		awk -v total="$total" -v tty="$([ -t 2 ] && echo 1 || echo 0)" '
			/^[A-Za-z0-9.\/_~-]+$/ { n++; if (tty) { printf "\r  %d of %d packages", n, total; fflush() } else if (n % 200 == 0) { printf "  %d of %d packages\n", n, total; fflush() } next }
			!/^go: downloading/ { print }
			END { if (tty && n) printf "\n" }' >&2
	[ ! -e "$status" ] || exit 1
	mv "$binary.$$" "$binary"
	echo "Built in $(($(date +%s) - began)) s." >&2
fi
ln -sfn "$binary" "$cache/keyserver"
echo "$binary"
