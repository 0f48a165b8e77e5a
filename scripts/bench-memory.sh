#!/bin/bash
# Measures checkpoint and restore of a Redis of several sizes; BUDGETS.md says what is promised. Words are passed on to
# scripts/bench-memory.py: sizes in MB, none for 10, 256 and 1000.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "make bench-memory needs root: sudo make bench-memory" >&2; exit 1; }
export PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d /var/tmp/wharf-bench-memory-XXXXXX)
trap 'rm -rf "$work"' EXIT
# In a pid namespace of our own nothing outlives us.
unshare --mount --pid --fork --kill-child --mount-proc \
    python3 scripts/bench-memory.py "${WHARF_RUNTIME:-build/wharf-runtime}" "${WHARF:-build/wharf}" "$work" "$@"
