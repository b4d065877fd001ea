#!/bin/sh
# Runs every fuzz target for FUZZTIME (default 1m), one after the other.
set -eu
cd "$(dirname "$0")/.."
grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r package; do
	grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$package"/*_test.go | sed 's/func //' | while read -r target; do
		echo "== $package $target"
		go test -run='^$' -fuzz="^$target\$" -fuzztime="${FUZZTIME:-1m}" "$package"
	done
done
