#!/bin/bash
# Every check of the project, cheapest first. The profile `quick` serves the product and the tests alike, so that
# each dependency is compiled once.
set -euo pipefail
cd "$(dirname "$0")/.."
# A backtrace through the test harness says less than the message.
export RUST_BACKTRACE=0
step() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }

[ "$(id -u)" = 0 ] || { echo "make test needs root: the black-box tests start containers" >&2; exit 1; }

step "lint"
scripts/lint.sh

step "build"
scripts/build.sh quick

# What the page says of flags and tests follows from both.
binaries=${CARGO_TARGET_DIR:-target}/$(rustc -vV | sed -n 's/^host: //p')/quick
cargo run --quiet --locked --profile quick --package xtask -- flags --check "$binaries/wharf"

# Unit and property tests, the layering, then the black-box tests on the binaries just built.
step "test"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --workspace --cargo-profile quick --no-fail-fast "$@"
else
    cargo test --locked --workspace --profile quick --no-fail-fast -- "$@"
fi

# What needs version 2 of control groups; `make test-kernels` runs all of it.
step "Linux 6.1 with control groups of version 2, a slice"
WHARF_KERNEL_TIMEOUT=300 scripts/test-kernels.sh "$binaries" \
    check_apparmor check_nfs_volume check_limits_are_written check_limits_on_disk check_lack_of_memory_is_told \
    check_pause_update_and_stats \
    $(sed -n 's/^\(check_oci_[a-z_]*\)() {$/\1/p' tests/kernels/init.sh)

step "fuzz targets, a few seconds each"
scripts/fuzz.sh 3

# A bed removes itself; one that is still there is a leak of the tests themselves.
left=$(ls -d /var/tmp/wharf-bed-* /sys/fs/cgroup/*/bed-* /sys/fs/cgroup/bed-* 2>/dev/null || true)
[ -z "$left" ] || { printf 'left behind by the tests:\n%s\n' "$left" >&2; exit 1; }
step "all checks passed"
