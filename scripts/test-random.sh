#!/usr/bin/env bash
# Runs the property tests of the workspace and of its pages with new seeds: scripts/test-random.sh [ROUNDS]. Shows the seed of
# each round; PROPTEST_RNG_SEED=<seed> cargo test repeats it, and npm test in libs/ui/web for the pages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mapfile -t packages < <(grep -rl --include='*.rs' -e '^ *proptest! {' libs services | cut -d/ -f1,2 | sort -u)
arguments=(-p tactus-fuzz)
for package in "${packages[@]}"; do
  arguments+=(-p "$(sed -n 's/^name = "\(.*\)"/\1/p' "$package/Cargo.toml" | head -1)")
done
for ((round = 1; round <= ${1:-5}; round++)); do
  seed=$(od -An -N8 -tu8 /dev/urandom | tr -d ' ')
  printf '\n=== round %d: PROPTEST_RNG_SEED=%s\n' "$round" "$seed"
  if [[ -e libs/ui/web/node_modules/.installed ]]; then
    PROPTEST_RNG_SEED=$seed PROPERTY_RUNS=20000 npm --prefix libs/ui/web run --silent test
  fi
  PROPTEST_RNG_SEED=$seed "${CARGO:-cargo}" test --locked --no-fail-fast "${arguments[@]}"
done
