#!/bin/sh
# How fast identity providers push people by SCIM and find them again, against SCIMMY on the same machine; bench/README.md says how.
#
#   SCIM_USERS=100000 SCIM_MEMBERS=50000 bench/scim.sh [--json]
set -eu
cd "$(dirname "$0")/.."
peer="${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/scimmy-1.3.5"
if [ ! -e "$peer/node_modules/scimmy-routers/package.json" ]; then
	mkdir -p "$peer"
	cp bench/scim/peer/package.json "$peer/"
	npm install --prefix "$peer" --no-audit --no-fund --silent >&2
fi
cp bench/scim/peer/server.mjs "$peer/"
mkdir -p build/bin
go build -trimpath -o build/bin/scimbench ./bench/scim
exec build/bin/scimbench --users "${SCIM_USERS:-100000}" --members "${SCIM_MEMBERS:-50000}" --peer "$peer/server.mjs" "$@"
