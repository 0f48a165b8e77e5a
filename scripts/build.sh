#!/bin/bash
# Builds the two binaries and links them into a directory.
#
#   scripts/build.sh PROFILE [DIRECTORY]      prints nothing but errors and the two paths
set -euo pipefail
cd "$(dirname "$0")/.."
profile=$1
cargo build --locked --profile "$profile" --package wharf --package wharf-runtime
out=${CARGO_TARGET_DIR:-target}/$(rustc -vV | sed -n 's/^host: //p')/$profile
if [ -n "${2:-}" ]; then
    mkdir -p "$2"
    for name in wharf wharf-runtime; do
        # A fresh file: the old one may be running.
        cp --remove-destination "$out/$name" "$2/$name"
        printf '%s\t%s\n' "$(du -h --apparent-size "$2/$name" | cut -f1)" "$2/$name"
    done
fi
