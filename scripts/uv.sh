#!/bin/sh
# Print the path of uv, the installer.
#
#     scripts/uv.sh any       the one on the path, or else, where that is missing or old, the pinned one
#     scripts/uv.sh pinned    the one that requirements-uv.lock pins, which pip puts into .uv
set -eu
cd "$(dirname "$0")/.."
lock=requirements-uv.lock python=${PYTHON:-python3}

if [ "$1" = any ] && uv venv --help 2>/dev/null | grep -q -e --clear; then
  command -v uv
  exit
fi
if ! cmp -s "$lock" .uv/installed; then
  "$python" -c 'import ensurepip, venv' 2>/dev/null || {
    echo "'$python' has no venv module, and no uv from 0.8 on is on the path." >&2
    echo "Next: install one of them (on Debian and Ubuntu: apt-get install python3-venv)" >&2
    exit 2
  }
  "$python" -m venv --clear .uv
  .uv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$lock" >&2
  cp "$lock" .uv/installed
fi
echo .uv/bin/uv
