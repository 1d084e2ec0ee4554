#!/bin/sh
# The locks: `lock.sh write [--upgrade]` resolves them again, `lock.sh check` proves that they are
# what pyproject.toml asks for. The present lock is the preference, so that a new release on the
# registry changes nothing until somebody asks for it.
set -eu
cd "$(dirname "$0")/.."
# As pip does: the certificates of the machine, so that a company's mirror is reached too.
export UV_SYSTEM_CERTS=true

resolve() { # extras and options..., the output last
  .venv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 \
    --generate-hashes --no-header --quiet "$@"
}

extras() { # the names of the extras that one environment takes together
  .venv/bin/python -c 'import tomllib; print(*sorted(
    tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"].keys()
    - {"federation"}), sep="\n")'
}

write() { # into the folder $1, with the further options after it
  folder=$1
  shift
  # All extras but federation: flwr and server ask for different releases of fastapi.
  resolve $(extras | sed 's/^/--extra /') "$@" --output-file "$folder/dev.lock" >/dev/null
  resolve --extra server --extra build --constraint "$folder/dev.lock" --no-annotate "$@" \
    --output-file "$folder/server.lock" >/dev/null
  for extra in hsm otel; do
    resolve --extra "$extra" --constraint "$folder/dev.lock" --no-annotate "$@" \
      --output-file "$folder/$extra.lock" >/dev/null
  done
  resolve --extra federation --extra build --no-annotate "$@" \
    --output-file "$folder/federation.lock" >/dev/null
}

complain() {
  printf 'lock: %s\n' "$1" >&2
  broken=1
}

check() {
  broken=0
  for lock in requirements/*.lock; do
    grep -nE '://|--(extra-)?index-url|--find-links' "$lock" >&2 &&
      complain "$lock names a registry or a file address; locks hold names, versions and hashes"
    unhashed=$(awk '/^[a-zA-Z0-9]/ { if (name) print name; name = $1 } /--hash=sha256:/ { name = "" }
      END { if (name) print name }' "$lock")
    [ -z "$unhashed" ] || complain "$lock: no hash for $unhashed"
  done
  for lock in $(git ls-files --cached --others --exclude-standard '*package-lock.json'); do
    grep -nE '"resolved": *"[a-z+]*://' "$lock" >&2 &&
      complain "$lock records where packages came from; make it with npm install --omit-lockfile-registry-resolved"
    grep -q '"integrity"' "$lock" || complain "$lock has no hashes"
  done
  [ "$broken" -eq 0 ] || return 1

  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  cp requirements/*.lock "$folder"
  write "$folder"
  for lock in requirements/*.lock; do
    diff -u "$lock" "$folder/$(basename "$lock")" >&2 ||
      complain "$lock is not what pyproject.toml asks for; run make lock and commit the result"
  done
  return "$broken"
}

case ${1:-} in
  write)
    shift
    write requirements "$@"
    ;;
  check) check ;;
  *)
    echo "usage: lock.sh write [--upgrade] | check" >&2
    exit 2
    ;;
esac
