#!/usr/bin/env bash
# The file system of the image: image-root.sh FOLDER PROGRAM... writes FOLDER/root, and FOLDER/data, which is the start of the volume.
# It holds the programs, the libraries that they are linked to with the records of their packages, by which scanners know them, the
# certificates of this machine, and one user. The Dockerfile runs it in its build stage, scripts/image.sh on any machine.
set -euo pipefail
folder=$1 root=$1/root
shift

mkdir -p "$folder/data" "$root"/{etc/ssl/certs,tmp,usr/bin,usr/share/doc,var/lib/dpkg/status.d}
chmod 1777 "$root/tmp"
install -m 755 "$@" "$root/usr/bin/"

# `name => /path (address)`, and the loader as `/path (address)`. A static program has none.
libraries=$(ldd "$@" 2>/dev/null | awk '$2 == "=>" { print $3 } /^\t\// { print $1 }' | sort -u || true)
for library in $libraries; do
  cp --dereference --parents "$library" "$root"
  # Debian's packages name /lib, which is a link to /usr/lib.
  package=$({ dpkg-query --search "$library" || dpkg-query --search "/usr$library"; } 2>/dev/null | head -1 | cut -d: -f1) || continue
  dpkg-query --status "$package" >"$root/var/lib/dpkg/status.d/$package"
  mkdir -p "$root/usr/share/doc/$package"
  cp --dereference "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/"
done

cp --dereference /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
cp --dereference /etc/os-release "$root/etc/"
cat >"$root/etc/passwd" <<'PASSWD'
root:x:0:0:root:/:/sbin/nologin
nonroot:x:65532:65532:nonroot:/var/lib/tactus:/sbin/nologin
PASSWD
printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
# Without it names of /etc/hosts, which container engines write, are asked of DNS first.
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
