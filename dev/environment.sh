#!/bin/sh
# Prepare .venv from a lock: `environment.sh server` (run the broker) or `environment.sh dev`
# (tests and lint besides). The development lock holds the server's versions too, so an
# environment made from it serves both. A second call with nothing changed returns at once.
# `environment.sh federation` prepares .venv-federation: Flower, which cannot be had beside the
# server's fastapi, and this project's libraries.
set -eu
cd "$(dirname "$0")/.."
want=$1
venv=.venv
[ "$want" = federation ] && venv=.venv-federation

fail() {
  printf 'setup: %s\n' "$1" >&2
  exit 1
}

fingerprint() { # of all that decides what is installed from the lock $1
  { cat "requirements/$1.lock" pyproject.toml && ls -d ./*/__init__.py && pwd; } | cksum
}

installed() {
  [ -f "$venv/.installed-$1" ] && [ "$(cat "$venv/.installed-$1")" = "$(fingerprint "$1")" ]
}

suits() { # a Python that runs, of a version that the project supports
  command -v "$1" >/dev/null 2>&1 &&
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

if suits "$venv/bin/python"; then
  installed "$want" && exit 0
  [ "$want" = server ] && installed dev && exit 0
else
  for python in ${PYTHON:-} python3.12 python3.11 python3 python; do
    suits "$python" && break
    python=
  done
  [ -n "$python" ] || fail "no Python 3.11 or 3.12 found; install one, or name it: make setup PYTHON=/path/to/python3.12"
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "Python $version lacks venv or ensurepip; on Debian and Ubuntu: apt-get install python$version-venv"
  echo "setup: making $venv with Python $version"
  rm -rf "$venv"
  "$python" -m venv "$venv"
fi

pip() { # pip's words are shown only when it fails
  sh dev/quietly.sh "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"
}

echo "setup: installing requirements/$want.lock (a minute or two the first time)"
rm -f "$venv"/.installed-*
# The lock is whole, so nothing is resolved again: pip 23 would take pydantic[email], which one package
# asks of another, for unpinned as soon as the registry has a newer release than the lock.
pip install --quiet --no-deps --require-hashes -r "requirements/$want.lock"
echo "setup: installing this project itself"
pip install --quiet --no-deps --no-build-isolation -e .
pip check
fingerprint "$want" >"$venv/.installed-$want"
echo "setup: ready"
