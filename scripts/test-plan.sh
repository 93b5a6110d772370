#!/usr/bin/env bash
# Says what `make test` is about to install, and for how long: the files named are there once it is.
set -euo pipefail

missing=()
for file in "$@"; do
  if [[ ! -e $file ]]; then missing+=("$file"); fi
done
if ((${#missing[@]})); then
  cat <<'TEXT'
make test installs what its black-box tests start, where it is missing:
  packages of the system, on Debian and Ubuntu as root: scripts/test-packages.sh names them
  Python packages in .venv and integration-tests/clients/python/.venv, Node packages below integration-tests and in libs/ui/web
  Go programs in integration-tests/.cache/bin: Jaeger's agent and query, a collector, a Google storage server, helm, kustomize
  mdBook in the same place, by cargo
On two cores this takes some 10 minutes, once. A test whose program cannot be had is skipped by name, with a count at the end.
`make test-unit` needs Rust alone.
TEXT
fi
