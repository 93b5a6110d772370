#!/usr/bin/env bash
# Feeds a decoder what libFuzzer makes up: scripts/fuzz.sh TARGET|all [options of libFuzzer]
#
# Needs a C++ compiler, and no nightly Rust: only the workspace's own crates are watched, by options that every rustc
# has; the crates they need are those of every other build. Inputs that were found to be different stay in
# target/fuzz/TARGET, what fails is left in target/fuzz/failures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

wanted=${1:-all}
shift || true
target_dir=${CARGO_TARGET_DIR:-target}
# Ten minutes each, unless options say otherwise.
options=("${@:--max_total_time=600}")

# As fast as a release, and as strict as a test: overflow is a panic.
RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/fuzz-rustc.sh CARGO_PROFILE_DEV_OPT_LEVEL=2 \
  "${CARGO:-cargo}" build --locked -p tactus-fuzz --features libfuzzer --bin tactus-fuzz

names=$wanted
if [[ $wanted == all ]]; then
  names=$(sed -n 's/^    Target::[a-z_]*("\([a-z_]*\)".*/\1/p' fuzz/src/lib.rs)
fi
mkdir -p "$target_dir/fuzz/failures"
for name in $names; do
  found=$target_dir/fuzz/$name
  mkdir -p "$found" "fuzz/corpus/$name"
  dictionary=()
  if [[ -f fuzz/$name.dict ]]; then dictionary=("-dict=fuzz/$name.dict"); fi
  echo "=== $name"
  FUZZ_TARGET=$name FUZZ_SEEDS=$found "$target_dir/debug/tactus-fuzz" "$found" "fuzz/corpus/$name" \
    "-artifact_prefix=$target_dir/fuzz/failures/$name-" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
    "${dictionary[@]}" "${options[@]}"
done
