#!/bin/sh
# Install what a lock file pins, and cnnlab itself, into a virtual environment.
#
#     scripts/setup.sh LOCK VENV
#
# Nothing is resolved here: every package comes from LOCK, by its hash. PYTHON chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."
lock=$1 venv=$2 python=${PYTHON:-python3}

stop() { printf '%s\nNext: %s\n' "$1" "$2" >&2; exit 2; }

command -v "$python" >/dev/null ||
  stop "cnnlab needs Python 3.11 to 3.15, but there is no '$python' on the path." \
       "install Python, or name one: make PYTHON=/path/to/python3.12 setup"
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 15))' ||
  stop "cnnlab needs Python 3.11 to 3.15, but '$python' is $("$python" --version 2>&1)." \
       "name another one: make PYTHON=python3.12 setup"

# The very interpreter that was checked: uv would look for another one of that name.
python=$("$python" -c 'import sys; print(sys.executable)')

# PyTorch takes most of it: on Linux PyPI has only the build with CUDA.
case $(uname -s) in Linux) needed_gb=8 download_gb=3 ;; *) needed_gb=3 download_gb=1 ;; esac
for folder in "$PWD" "${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-$PWD}}}"; do # uv keeps what it downloads in the latter
  [ -d "$folder" ] && [ ! -d "$venv" ] || continue
  free_gb=$(df -Pk "$folder" | awk 'NR == 2 { print int($4 / 1048576) }')
  [ "$free_gb" -ge "$needed_gb" ] ||
    stop "The packages need $needed_gb GB in $folder, but $free_gb GB are free there." \
         "free some space, clone the project to a larger disk, or set UV_CACHE_DIR to a folder on one"
done

uv=$(PYTHON=$python scripts/uv.sh any)
echo "Installing $lock into $venv: about $download_gb GB to download the first time ..."
"$uv" venv --quiet --clear --python "$python" "$venv"
# --python, since UV_PYTHON or UV_SYSTEM_PYTHON would have uv change another environment.
"$uv" pip sync --python "$venv" --require-hashes "$lock"
"$uv" pip install --python "$venv" --quiet --no-deps --no-build-isolation --editable .
