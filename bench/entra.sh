#!/bin/sh
# How fast people of Entra ID come into the store, from a sandbox of 100,000; bench/README.md says how.
#
#   bench/entra.sh [--json] [--people N]
set -eu
cd "$(dirname "$0")/.."
mkdir -p build/bin
go build -trimpath -o build/bin/entrabench ./bench/entra
exec build/bin/entrabench "$@"
