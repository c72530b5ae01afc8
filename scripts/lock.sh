#!/bin/sh
# Write the lock files, or check them.
#
#     scripts/lock.sh write              pin the newest releases that are at least seven days old
#     scripts/lock.sh check [FILE ...]   show that each lock is complete: resolving it adds and changes nothing
#
# A lock holds every requirement of every pinned package, extras and platform markers included, so that an installer
# has nothing left to resolve and no later release can change, or break, what a fresh clone installs.
set -eu
cd "$(dirname "$0")/.."

# Packages whose newest release may be younger, because it mends a security fault. Name the advisory beside each.
SECURITY_FIXES=""

uv=$(scripts/uv.sh pinned)
resolve() { "$uv" pip compile --quiet --universal --python-version 3.11 --no-strip-extras "$@"; }
options() {
  case $1 in
    *requirements.lock) echo "--group install --extra captum --extra optuna --extra timm" ;;
    *) echo "--group install --extra dev" ;;
  esac
}

write() {
  fixes=""
  for package in $SECURITY_FIXES; do fixes="$fixes --exclude-newer-package $package=false"; done
  set -- --upgrade --exclude-newer "7 days" $fixes --generate-hashes --custom-compile-command "make lock"
  # The versions for running are those that the tests pass with: the second is resolved under the first.
  resolve pyproject.toml $(options requirements-dev.lock) "$@" -o requirements-dev.lock
  resolve pyproject.toml $(options requirements.lock) -c requirements-dev.lock "$@" -o requirements.lock
  echo uv | resolve - "$@" -o requirements-uv.lock
}

check() {
  [ $# -gt 0 ] || set -- requirements.lock requirements-dev.lock
  status=0
  for lock; do
    pins=$(grep -E '^[A-Za-z0-9]' "$lock" | sed 's/ *\\$//' | sort)
    # Hashes are left out: a project may add a wheel for a new Python to an old release.
    closure=$(resolve pyproject.toml "$lock" $(options "$lock") --no-annotate --no-header) || {
      echo "$lock could not be resolved. Next: make sure that PyPI can be reached, and run this again" >&2
      exit 2
    }
    closure=$(echo "$closure" | sort)
    if [ "$pins" = "$closure" ]; then
      echo "$lock: complete, $(echo "$pins" | wc -l) pins"
    else
      echo "$lock: not complete. Its own packages and pyproject.toml require (>) what it does not pin, or pins (<) otherwise:" >&2
      tmp=$(mktemp)
      echo "$pins" >"$tmp"
      echo "$closure" | diff "$tmp" - | grep '^[<>]' >&2 || true
      rm "$tmp"
      echo "Next: make lock" >&2
      status=1
    fi
  done
  return $status
}

command=$1
shift
"$command" "$@"
