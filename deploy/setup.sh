#!/usr/bin/env bash
# Makes .venv from requirements.lock with the first suitable Python, and installs the command in it.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
  for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "setup: Python 3.11, 3.12 or 3.13 is needed and none was found on PATH" >&2
  echo "setup: on Debian or Ubuntu: sudo apt-get install python3 python3-venv" >&2
  exit 1
}

python=$(find_python)
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  echo "setup: $python lacks its venv module" >&2
  echo "setup: on Debian or Ubuntu: sudo apt-get install python3-venv" >&2
  exit 1
fi

echo "setup: $("$python" --version), locked dependencies into .venv (once)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install --require-hashes -r requirements.lock
"${pip[@]}" install --no-deps --no-build-isolation -e .
touch .venv/.ready
echo "setup: done; the command is .venv/bin/lakehouse"
