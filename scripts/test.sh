#!/bin/sh
# Everything `make test` does, in the order in which a failure is cheapest. Works on a new Debian or Ubuntu machine with git,
# make and Go; what else the tests need is installed here.
set -eu
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step "Servers for the tests"
scripts/install-test-servers.sh
scripts/temporal-server.sh >/dev/null
scripts/key-server.sh >/dev/null

step "Format, vet, determinism and style"
scripts/lint.sh

step "Tests, under the race detector"
# The end-to-end tests drive programs of their own, which are built without it. Three modules of others are left unwatched: SQLite and its C
# library, which are C translated to Go, and scrypt, one pure function. Nothing of ours runs in them, and watched they take most of the time.
# shellcheck disable=SC2046
go test -race -timeout 30m \
	-gcflags=golang.org/x/crypto/scrypt=-race=false -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false \
	$(go list ./... | grep -v '/test$')

step "End to end"
go test -timeout 30m ./test

step "The demo"
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
make --no-print-directory demo STATE="$state" PORT=0 </dev/null
