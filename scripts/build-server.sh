#!/bin/sh
# Builds a server that is a module of its own, once per version, and prints its path. The version is the digest of the module's own
# files; finished builds are kept in the user's cache, and the newest stands there under its plain name.
#
# usage: scripts/build-server.sh FOLDER NAME WHAT MINUTES
set -eu
name=$2 what=$3 minutes=$4
cd "$(dirname "$0")/../$1"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/holdfast"
version=$(cat ./*.go go.mod go.sum | sha256sum | cut -c1-12)
binary="$cache/$name-$version"
if [ ! -x "$binary" ]; then
	mkdir -p "$cache"
	total=$(go list -deps . 2>/dev/null | wc -l)
	echo "Building $what (once; about $minutes minutes on two cores, seconds when Go has it cached) ..." >&2
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
ln -sfn "$binary" "$cache/$name"
echo "$binary"
