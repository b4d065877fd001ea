#!/bin/sh
# Builds kopia's own command line, once per version, and prints its path. The version is the one that bench/kopiacli pins: the same as
# that of the library in ours. Finished builds are kept in the user's cache.
set -eu
cd "$(dirname "$0")/kopiacli"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/holdfast"
version=$(cat go.mod go.sum | sha256sum | cut -c1-12)
binary="$cache/kopia-$version"
if [ ! -x "$binary" ]; then
	mkdir -p "$cache"
	echo "Building kopia's command line (once; some two minutes of processor time) ..." >&2
	trap 'rm -f "$binary.$$"' EXIT
	# Its web page is left out: it would come as a module of its own.
	CGO_ENABLED=0 nice go build -trimpath -ldflags '-s -w' -tags nohtmlui -o "$binary.$$" github.com/kopia/kopia
	mv "$binary.$$" "$binary"
fi
echo "$binary"
