#!/bin/sh
# Signals and activities with the payload codec against none, on a real Temporal server; bench/README.md says how. Builds what it needs.
#
#   bench/codec.sh [--repeat N] [--signals N] [--activities N] [--json]
set -eu
cd "$(dirname "$0")/.."
scripts/temporal-server.sh >/dev/null
go build -trimpath -o build/bin/codecbench ./bench/codec
exec build/bin/codecbench "$@"
