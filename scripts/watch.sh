#!/usr/bin/env bash
# Runs the unit tests of a crate, and again after each change below libs, services and proto: watch.sh CRATE [ARGUMENT...]
# Looks every second what is newer than the last run; nothing has to be installed for it. Ends with Ctrl-C.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
last=$(mktemp)
trap 'rm -f "$last"' EXIT
while :; do
  touch "$last"
  ${CARGO:-cargo} test --locked --package "$@" && echo "watch: passed" || echo "watch: failed"
  until [[ -n $(find libs services proto Cargo.toml -name node_modules -prune -o -type f -newer "$last" -print -quit) ]]; do sleep 1; done
done
