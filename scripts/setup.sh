#!/bin/bash
# Installs what a make target needs on a Debian 12 machine.
#
#   scripts/setup.sh build test interop demo bench fuzz kernels
#
# Each word is a group of packages below. What is there already is left alone, so that a second run costs
# milliseconds and needs neither root nor a network.
set -euo pipefail

# command or file that proves a package is there : package
build=(cc:gcc c++:g++ make:make git:git curl:curl /etc/ssl/certs/ca-certificates.crt:ca-certificates)
test=(/var/lib/dpkg/info/busybox-static.list:busybox-static docker-registry:docker-registry htpasswd:apache2-utils openssl:openssl nft:nftables strace:strace ip:iproute2 newuidmap:uidmap ps:procps setpriv:util-linux python3:python3 redis-server:redis-server nginx:nginx-light node:nodejs /usr/lib/postgresql/15/bin/postgres:postgresql-15 mariadbd:mariadb-server-core mariadb:mariadb-client-core mkfs.xfs:xfsprogs /usr/lib/jvm/java-17-openjdk-amd64/bin/javac:openjdk-17-jdk-headless /lib/systemd/systemd-journald:systemd)
demo=(redis-server:redis-server redis-cli:redis-tools debootstrap:debootstrap umoci:umoci psql:postgresql-client docker-registry:docker-registry ip:iproute2 nft:nftables)
# docker.io goes by itself: in one command with others apt's resolver has been seen to give up.
bench=(skopeo:skopeo crun:crun runc:runc bwrap:bubblewrap)
# What youki is built with.
bench_youki=(pkg-config:pkg-config /usr/include/seccomp.h:libseccomp-dev)
bench_podman=(podman:podman /usr/lib/cni/bridge:containernetworking-plugins)
bench_docker=(dockerd:docker.io)
# The engines that the runtime is tried under, docker.io brings containerd; and crun, whose filters ours are compared with.
reflinks=(mkfs.xfs:xfsprogs)
interop=(criu:criu buildah:buildah script:bsdutils crun:crun)
kernels=(/var/lib/dpkg/info/busybox-static.list:busybox-static mkfs.ext4:e2fsprogs apparmor_parser:apparmor)
# By itself, for the same reason.
kernels_qemu=(qemu-system-x86_64:qemu-system-x86)

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

present() { # present PROOF
    case $1 in
        /*) [ -e "$1" ] ;;
        *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1 ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo --preserve-env=DEBIAN_FRONTEND,RUNLEVEL "$@"
    else die "installing packages needs root (or sudo)"
    fi
}

# Packages bring services along (docker, docker-registry, podman): none of them may be started by being installed.
without_services() {
    local policy=/usr/sbin/policy-rc.d status=0
    if [ -e $policy ]; then as_root "$@"; return; fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
    as_root "$@" || status=$?
    as_root rm -f $policy
    return $status
}

updated=no
apt_install() { # apt_install PACKAGE...
    export DEBIAN_FRONTEND=noninteractive
    command -v apt-get >/dev/null || die "$* missing, and this is no Debian: install them by hand"
    if [ $updated = no ]; then
        # One broken source among several must not stop us: what counts is whether the install works.
        as_root apt-get update -q -o Acquire::Retries=3 >/dev/null 2>&1 || say "apt-get update had errors; going on"
        updated=yes
    fi
    local attempt
    for attempt in 1 2 3; do
        say "installing $*"
        if without_services apt-get install -q -y --no-install-recommends -o Acquire::Retries=3 \
            -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1; then return 0; fi
        sleep $((attempt * 3))
        as_root apt-get update -q -o Acquire::Retries=3 >/dev/null 2>&1 || true
    done
    tail -n 30 "$log" >&2
    die "could not install $*"
}

group() { # group NAME
    local -n pairs=$1
    local pair missing=()
    for pair in "${pairs[@]}"; do
        present "${pair%%:*}" || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}

rust() {
    export PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    if ! command -v cargo >/dev/null; then
        command -v rustup >/dev/null || [ "${WHARF_INSTALL_RUST:-yes}" = yes ] || die "no Rust toolchain"
        say "no cargo found: installing a Rust toolchain with rustup for $(id -un)"
        curl --proto '=https' --tlsv1.2 -sSf --retry 3 https://sh.rustup.rs -o "$log.rustup" 2>"$log" &&
            sh "$log.rustup" -y -q --profile minimal -c rustfmt -c clippy >"$log" 2>&1 || {
            rm -f "$log.rustup"
            die "no Rust toolchain and rustup cannot be fetched; install Rust $rust_wanted or newer (https://rustup.rs) and try again"
        }
        rm -f "$log.rustup"
    fi
    local have
    have=$(cargo --version | awk '{print $2}')
    [ "$(printf '%s\n%s\n' "$rust_wanted" "$have" | sort -V | head -n 1)" = "$rust_wanted" ] ||
        die "cargo $have is too old: Wharf is built with Rust $rust_wanted or newer (rustup update)"
}

here=$(cd "$(dirname "$0")/.." && pwd)
rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/Cargo.toml")
log=$(mktemp)
trap 'rm -f "$log"' EXIT

for name in "$@"; do
    case $name in
        build) group build; rust ;;
        test) group test ;;
        interop) group bench_podman; group interop; group bench_docker ;;
        demo) group demo ;;
        bench) group demo; group bench; group bench_podman; group bench_docker; group bench_youki ;;
        reflinks) group reflinks ;;
        fuzz) group build; rust ;;
        kernels) group kernels; group kernels_qemu ;;
        *) die "no such group: $name (build, test, interop, demo, bench, reflinks, fuzz, kernels)" ;;
    esac
done
