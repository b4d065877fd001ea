#!/bin/sh
# Builds the OpenBao server that the tests and the demo start as the Vault of a customer, once per version, and prints its path.
set -eu
exec "$(dirname "$0")/build-server.sh" internal/sandbox/keyserver/server keyserver "the key server" 4
