#!/usr/bin/env bash
# Makes the image of programs that are built already: image.sh FILE PROGRAM... writes FILE, which `docker load` and `podman load` take.
# It is the last stage of the Dockerfile; neither a base image nor an engine nor a network is needed, only buildah, as root or in a user
# namespace (`buildah unshare scripts/image.sh ...`). NAME is the image's name with its tag.
set -euo pipefail
file=$(realpath "$1")
shift
mapfile -t programs < <(realpath -e "$@")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
name=${NAME:-tactus:$version}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# The time of the commit and not of the build: layers depend on nothing but what is in them.
made=$(git log -1 --format=%ct 2>/dev/null || echo 0)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# In a context that is called as the build stage is: what the last stage copies from it lies at the same place.
scripts/image-root.sh "$work/build/out" "${programs[@]}"
awk '/^FROM / { last = "" } { last = last $0 "\n" } END { printf "%s", last }' Dockerfile >"$work/Dockerfile"
mkdir "$work/empty"
buildah() { command buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }
# Of Docker's format: that of OCI has no health check.
buildah build --quiet --isolation chroot --format docker --timestamp "$made" --build-context build="$work/build" \
  --build-arg VERSION="$version" --build-arg REVISION="$revision" --file "$work/Dockerfile" --tag "$name" "$work/empty" >/dev/null
rm -f "$file"
buildah push --quiet "$name" "docker-archive:$file:$name"
