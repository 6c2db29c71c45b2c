#!/usr/bin/env bash
# Makes .venv-peers: what we are measured beside, apart from what we are made of.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "bench: the peers to measure beside into .venv-peers (once)"
[ -x .venv-peers/bin/python ] || .venv/bin/python -m venv .venv-peers
.venv-peers/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r bench/peers.lock
touch .venv-peers/.ready
