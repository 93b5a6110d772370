#!/usr/bin/env bash
# Runs the black-box tests, several at once: scripts/test-integration.sh PYTHON PROCESSES [PYTEST ARGUMENTS]
# Each process takes one file after the other, in the order that conftest.py gives them.
# A few that fail are run once more with nothing beside them: with several clusters on two cores a test may wait longer than it
# allows. What fails again, or too much at once, is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=$1 processes=$2
shift 2
MOST_AGAIN=10
TESTS_FAILED=1 # pytest's exit code; any other is a broken run

"$python" -m pytest -n "$processes" --dist loadfile --no-loadscope-reorder --cache-clear integration-tests "$@" && exit
status=$?
if ((status != TESTS_FAILED)); then exit "$status"; fi
failed=$("$python" -c 'import json; print(len(json.load(open("integration-tests/.cache/pytest/v/cache/lastfailed"))))')
if ((failed > MOST_AGAIN)); then exit "$status"; fi
printf '\n%d failed beside others; once more by themselves\n' "$failed"
"$python" -m pytest --last-failed --last-failed-no-failures none integration-tests "$@"
