#!/bin/bash
# Measures Wharf beside docker, podman, runc, crun, youki and bubblewrap; BUDGETS.md says what is promised. Words are passed on to
# `cargo xtask bench`: --quick, --only run,exec,runtimes,many,life,network,images.
#
#   scripts/bench.sh --clone [--quick]    clones instead; all stores are on an XFS in a file then, which has reflinks
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "make bench needs root: sudo make bench" >&2; exit 1; }
export PATH=$PATH:/usr/sbin:/sbin

image=$(scripts/postgres-image.sh)
disk=
if [ "${1:-}" = --clone ]; then
    shift
    dir=/var/lib/wharf-bench-clone disk=$dir.xfs
    mkdir -p "$dir"
    rm -f "$disk"
    truncate -s 40G "$disk"
    mkfs.xfs -q "$disk"
    trap 'rm -rf "$dir" "$disk"' EXIT
    set -- --only clone --dir "$dir/bench" "$@"
fi

# No package has it; built once, kept beside the image. Without it the others are measured.
peers=${WHARF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wharf}/peers
[ -n "$disk" ] || [ -x "$peers/bin/youki" ] || {
    echo "building youki to measure against (once, some minutes)" >&2
    cargo install --quiet --locked --root "$peers" --version 0.7.0 --target-dir "$peers/target" youki >&2 || true
    rm -rf "$peers/target"
}
export PATH=$PATH:$peers/bin
cargo build --locked --quiet --profile quick --package xtask
xtask=${CARGO_TARGET_DIR:-target}/$(rustc -vV | sed -n 's/^host: //p')/quick/xtask

# Namespaces of our own: the engines' bridges and firewalls do not meet the host's, and die with us. crun and podman
# refuse a host with both cgroup versions mounted, so here all engines see one of them.
unshare --mount --net --pid --fork --kill-child --mount-proc sh -c '
    umount /sys/fs/cgroup/unified 2>/dev/null || true
    mount -t tmpfs tmpfs /run
    busybox ip link set lo up
    [ -z "$1" ] || mount -o loop "$1" "${1%.xfs}"
    shift
    "$@"' sh "$disk" "$xtask" bench --bin build --image "$image" "$@"
