#!/bin/sh
# How fast people come from a real OpenLDAP into the store, against ldapsearch that dumps the same; bench/README.md says how.
#
#   bench/people.sh [--json] [--people N] [--rounds N]
set -eu
cd "$(dirname "$0")/.."
scripts/install-test-servers.sh >/dev/null
mkdir -p build/bin
go build -trimpath -o build/bin/peoplebench ./bench/people
exec build/bin/peoplebench "$@"
