#!/usr/bin/env bash
# Programs that the tests start and that come as packages of the system: installs what is missing, on Debian and Ubuntu as root.
# What cannot be installed is named; the tests that need it are skipped, or fail with TACTUS_REQUIRE_TOOLS.
set -euo pipefail

missing=()
need() {
  if ! "${@:2}" >/dev/null 2>&1; then missing+=("$1"); fi
}
need python3-venv python3 -c 'import venv, ensurepip'
need npm npm --version
need curl curl --version
need chromium chromium --version
need golang-go go version
need redis-server redis-server --version
need memcached memcached -V
need prometheus promtool --version
need nginx-light nginx -v
need systemd systemd-analyze --version
need buildah buildah --version
need runc runc --version

if ((${#missing[@]})); then
  echo "tests: packages that are missing: ${missing[*]}"
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    apt-get update -qq
    # Each test starts its own: the packages shall start no service.
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
      trap 'rm -f /usr/sbin/policy-rc.d' EXIT
      printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
      chmod +x /usr/sbin/policy-rc.d
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  else
    echo "tests: install them as root; without them the tests that need them are skipped" >&2
    if [[ -n ${TACTUS_REQUIRE_TOOLS:-} ]]; then exit 1; fi
  fi
fi
