#!/bin/sh
# Format, vet, the determinism of workflows, and golangci-lint as .golangci.yml says. Stops at the first of them that finds something.
#
# golangci-lint is built once per version into the user's cache (some minutes; 70 MB), by the ordinary go command.
set -eu
cd "$(dirname "$0")/.."

version=2.15.0
cache="${XDG_CACHE_HOME:-$HOME/.cache}/holdfast"
binary="$cache/golangci-lint-$version"

say() { echo "lint: $*" >&2; }

build_linter() {
	[ ! -x "$binary" ] || return 0
	say "building golangci-lint $version (once; some minutes) ..."
	mkdir -p "$cache"
	folder=$(mktemp -d "$cache/.lint-XXXXXX")
	trap 'rm -rf "$folder"' EXIT
	# Its modules are its own: this tree's go.mod neither names them nor is changed by them.
	(cd "$folder" && GOBIN="$folder" GOWORK=off GOFLAGS=-mod=mod go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$version")
	mv "$folder/golangci-lint" "$binary"
}

say "gofmt"
badly_formatted=$(git ls-files -co --exclude-standard '*.go' | while read -r file; do [ ! -f "$file" ] || gofmt -l "$file"; done)
if [ -n "$badly_formatted" ]; then
	say "gofmt -w these files:"
	echo "$badly_formatted" >&2
	exit 1
fi

say "go vet"
go vet ./...

say "workflowcheck: nothing in a workflow may depend on time, chance, order or the world"
go tool workflowcheck ./workflows/...

build_linter
say "golangci-lint $version"
# Files of the nested module (worker/temporalserver) are another module's, and are left out by ./...
"$binary" run ./...
say "nothing to say"
