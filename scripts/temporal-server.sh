#!/bin/sh
# Builds the Temporal server that `holdfastd dev` and the tests start, once per version, and prints its path.
set -eu
exec "$(dirname "$0")/build-server.sh" worker/temporalserver temporalserver "the Temporal server" 5
