#!/bin/bash
# Runs each fuzz target for some seconds: libFuzzer, coverage-guided, with the stable toolchain.
#
#   scripts/fuzz.sh SECONDS [TARGET...]
#
# A crash is written to fuzz/artifacts/TARGET/. `cargo fuzz run TARGET` works as well, where cargo-fuzz is installed.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=$1
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=($(cd fuzz_targets && ls -- *.rs | sed 's/\.rs$//'))

# What cargo-fuzz passes, but for the address sanitizer, which needs a nightly compiler; the targets are safe Rust.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
# Ten seconds do not repay what the optimized build takes.
profile=release
[ "$seconds" -gt 10 ] || profile=quick
cargo build --locked --profile "$profile" --quiet
out=${CARGO_TARGET_DIR:-target}/$(rustc -vV | sed -n 's/^host: //p')/$profile

for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    log=$(mktemp)
    if ! "$out/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="artifacts/$target/" "corpus/$target" "seeds/$target" >"$log" 2>&1; then
        tail -n 40 "$log"
        rm -f "$log"
        echo "fuzz: $target failed, input in fuzz/artifacts/$target/" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf 'fuzz: %-10s %8s inputs in %s s, none bad\n' "$target" "$runs" "$seconds"
    rm -f "$log"
done
