#!/bin/bash
# Formatting and lints, warnings denied.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --locked --quiet --profile quick --workspace --all-targets -- -D warnings
bash -n scripts/*.sh demo/*.sh .ci/run
echo "lint: clean"
