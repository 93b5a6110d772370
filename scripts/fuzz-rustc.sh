#!/usr/bin/env bash
# Cargo's wrapper for the workspace's own crates: has libFuzzer see which branches an input takes.
set -euo pipefail
compiler=$1
shift
for argument; do
  # Programs of the build are not linked with libFuzzer; questions about the compiler need none.
  case $argument in build_script_*|___) exec "$compiler" "$@" ;; esac
done
exec "$compiler" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
