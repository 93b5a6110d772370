#!/usr/bin/env bash
# Runs the unit, property and doc tests of the workspace: scripts/test-unit.sh
# A few that fail are run once more with nothing beside them: what waits for a time, a socket or a thread may fail on a machine
# that is busy. What fails again, or too much at once, is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
MOST_AGAIN=5

log=$(mktemp)
trap 'rm -f "$log"' EXIT
tests() { "${CARGO:-cargo}" test --workspace --locked --no-fail-fast "$@" 2>&1; }

status=0
tests | tee "$log" || status=$?
if ((status == 0)); then exit; fi
mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log")
broken=$(grep -cE '^error: (doc)?test failed' "$log" || true)
ended=$(grep -c '^test result: FAILED' "$log" || true)
# Without a name something did not build, or ended a whole process.
if ((${#failed[@]} == 0 || ${#failed[@]} > MOST_AGAIN || broken != ended)); then exit "$status"; fi
printf '\n%d failed beside others; once more by themselves\n' "${#failed[@]}"
tests -- --exact "${failed[@]}"
