#!/bin/sh
# Puts a judge of Microsoft Graph traffic between the adapters and the sandbox: scripts/lint-graph.sh PATH/TO/odata_lint.py
# The judge is not part of this repository. See internal/sandbox/graph/judge.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 PATH/TO/odata_lint.py" >&2; exit 2; }
case $1 in /*) lint=$1 ;; *) lint=$PWD/$1 ;; esac
[ -r "$lint" ] || { echo "$0: cannot read $lint" >&2; exit 2; }
cd "$(dirname "$0")/.."
HOLDFAST_ODATA_LINT=$lint exec go test -tags odatalint -count=1 -v -run '^TestODataLint$' ./integrations/microsoft365 ./integrations/entra
