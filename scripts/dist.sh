#!/usr/bin/env bash
# Files of a release: dist.sh FOLDER PROGRAM... puts the archive of the programs, that of their symbols (PROGRAM.debug), their bill of
# materials and the chart beside what FOLDER has already (packages, images), and writes SHA256SUMS of everything. LEVEL is that of gzip, 9 if it is not set.
set -euo pipefail
folder=$(realpath "$1")
shift
mapfile -t programs < <(realpath -e "$@")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
machine=$(uname -m)
name=tactus-$version-linux-$machine
made=$(git log -1 --format=%ct)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
symbols=$name-symbols
mkdir -p "$work/$name"/{bin,systemd} "$work/$symbols/bin"
install -m 755 "${programs[@]}" "$work/$name/bin/"
install -m 644 "${programs[@]/%/.debug}" "$work/$symbols/bin/"
cp LICENSE README.md CHANGELOG.md "$work/$name/"
cp deploy/systemd/* "$work/$name/systemd/"
# Without the times and users of this machine.
for archive in "$name" "$symbols"; do
  tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$made" --directory "$work" "$archive" |
    gzip --no-name "-${LEVEL:-9}" >"$folder/$archive.tar.gz"
done

python3 scripts/sbom.py "$folder/$name.cdx.json" --target "$machine-unknown-linux-gnu"
helm package helm/tactus --destination "$folder" >/dev/null

cd "$folder"
find . -type f ! -name 'SHA256SUMS*' -printf '%f\n' | sort | xargs sha256sum >SHA256SUMS
cat SHA256SUMS
