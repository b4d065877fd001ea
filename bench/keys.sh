#!/bin/sh
# How fast a tenant's ekey is had: by a connector and by a Vault, against both without custody; bench/README.md says how.
#
#   bench/keys.sh [--json] [--seconds N]
set -eu
cd "$(dirname "$0")/.."
scripts/key-server.sh >/dev/null
mkdir -p build/bin
go build -trimpath -o build/bin/keybench ./bench/keys
exec build/bin/keybench "$@"
