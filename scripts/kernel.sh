#!/bin/bash
# Debian's kernel for virtual machines, unpacked in the cache. Prints where.
set -euo pipefail
die() { printf 'kernel: %s\n' "$*" >&2; exit 1; }

cache=${XDG_CACHE_HOME:-$HOME/.cache}/wharf/kernels
mkdir -p "$cache"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The package is unpacked, not installed: an installed kernel would change this machine's boot.
package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-6/ { print $2; exit }')
[ -n "$package" ] || die "apt knows no linux-image-cloud-amd64 (apt-get update)"
if [ ! -d "$cache/$package" ]; then
    printf 'fetching %s\n' "$package" >&2
    (cd "$work" && apt-get download -q "$package" >apt.log 2>&1) || { cat "$work/apt.log" >&2; die "cannot fetch $package"; }
    mkdir "$work/kernel"
    dpkg -x "$work/$package"_*.deb "$work/kernel"
    # Under its name only when it is whole.
    mv "$work/kernel" "$cache/$package"
fi
printf '%s\n' "$cache/$package"
