#!/bin/sh
# A first backup and a run without changes, measured against kopia's own command line; bench/README.md says how. Builds what it needs.
#
#   bench/first-light.sh [--json] [--repeat N] [--people N] [--messages N] [--files N]
set -eu
cd "$(dirname "$0")/.."
scripts/temporal-server.sh >/dev/null
kopia=$(bench/kopia.sh)
make --no-print-directory build >&2
go build -trimpath -o build/bin/firstlight ./bench/firstlight
exec build/bin/firstlight --kopia "$kopia" "$@"
