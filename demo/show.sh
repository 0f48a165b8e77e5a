# What the demos share: how they say what happens. It is sourced by them, with $dir and $bin set.

export PATH=$PATH:/usr/sbin:/sbin

wharf() { "$bin/wharf" --root "$dir/root" --runroot "$dir/run" "$@"; }

title() { printf '\n%s\n%s\n' "$1" "${1//?/-}"; }
say() { printf '  %s\n' "$*"; }
fact() { printf '    %-48s %s\n' "$1" "$2"; }
die() { printf '\ndemo: %s\n' "$*" >&2; exit 1; }

now() { printf '%s' "${EPOCHREALTIME/./}"; } # microseconds
took() { awk -v us="$(($(now) - $1))" 'BEGIN { s = us / 1e6; printf s < 1 ? "%.0f ms" : "%.2f s", s < 1 ? s * 1000 : s }'; }
mb() { awk -v bytes="$1" 'BEGIN { printf bytes < 1e6 ? "%.0f KB" : bytes < 1e9 ? "%.1f MB" : "%.2f GB", bytes < 1e6 ? bytes / 1e3 : bytes < 1e9 ? bytes / 1e6 : bytes / 1e9 }'; }
disk() { du -s --block-size=1 "$@" 2>/dev/null | awk '{ sum += $1 } END { printf "%.0f", sum }'; }

# Shows a wharf command and what it says, then runs it, then what it took.
run() {
    say "\$ wharf $*"
    local start status=0
    start=$(now)
    if [ -t 1 ]; then wharf "$@" || status=$?; else wharf "$@" 2>&1 | sed 's/^/    /' || status=$?; fi
    [ $status -eq 0 ] || die "wharf $1 failed"
    say "  took $(took "$start")"
}

# The network of a store of our own, which Wharf keeps for the next container.
remove_network() { # remove_network BRIDGE
    ip link del "$1" 2>/dev/null || true
    nft list tables 2>/dev/null | grep -wF -- "$1" | sed 's/^table/delete table/' | nft -f - 2>/dev/null || true
}
