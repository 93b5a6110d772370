#!/usr/bin/env bash
# Checks, tests and builds the pages in libs/ui/web, where that is needed and Node can do it. Without Node the server has one
# page that says so; with TACTUS_REQUIRE_TOOLS that is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../libs/ui/web"

built=dist/site/index.html
sources=(src tests public index.html package.json package-lock.json vite.config.ts vitest.config.ts tsconfig.json biome.jsonc
  ../../../conformance/traceql_queries.yaml ../../../docs/traceql.md)
if [[ -e $built && -z $(find "${sources[@]}" -newer "$built" -print -quit) ]]; then exit 0; fi

without() {
  echo "ui: $1: the server is built without its pages" >&2
  if [[ -n ${TACTUS_REQUIRE_TOOLS:-} ]]; then exit 1; fi
  exit 0
}
if ! node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
    process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' 2>/dev/null || ! npm --version >/dev/null 2>&1; then
  without "Node 20.19 or later and npm are missing"
fi
if [[ ! -e node_modules/.installed || package-lock.json -nt node_modules/.installed ]]; then
  npm ci --ignore-scripts --no-audit --no-fund || without "its packages cannot be installed"
  touch node_modules/.installed
fi
npm run --silent check
npm run --silent test
npm run --silent build
