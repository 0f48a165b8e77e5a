#!/bin/bash
# Makes the image that the demo and the benches use: Debian 12 with PostgreSQL 15, two layers, as a tar of an OCI
# image layout. Prints the path of the tar. It takes a few minutes once; afterwards the cached file is used.
#
#   scripts/postgres-image.sh            make it unless it is there
#   scripts/postgres-image.sh --again    make it anew
#
# The cache is ${WHARF_CACHE:-${XDG_CACHE_HOME:-~/.cache}/wharf}, never the repository.
set -euo pipefail

recipe=1 # raise it when what is inside changes
cache=${WHARF_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/wharf}
image=$cache/postgres-15-r$recipe.oci.tar
export PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }

main() {
    mkdir -p "$cache"
    exec 9>"$cache/.lock"
    flock 9 # two at once: the second finds what the first made
    [ "${1:-}" = --again ] && rm -f "$image"
    if [ ! -s "$image" ]; then
        [ "$(id -u)" = 0 ] || { say "making the image needs root (debootstrap)"; exit 1; }
        work=$(mktemp -d "$cache/making.XXXXXX")
        log=$work/log
        trap 'clean_up' EXIT
        make_image
    fi
    printf '%s\n' "$image"
}

clean_up() {
    local status=$?
    if [ $status -ne 0 ] && [ -s "$log" ]; then
        say "making the PostgreSQL image failed:"
        tail -n 30 "$log" >&2
    fi
    # debootstrap mounts /proc and /sys in its target while it works; it may have died before unmounting them.
    awk -v dir="$work/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r umount -l || true
    rm -rf --one-file-system "$work"
    exit $status
}

make_image() {
    local mirror base=$work/base full=$work/full
    mirror=$(apt_mirror)
    mkdir -p "$cache/packages"

    say "making a Debian 12 image with PostgreSQL 15 (once, some minutes)"
    bootstrap "$base" "$mirror"
    bootstrap "$full" "$mirror" --include=postgresql-15
    tidy "$base"
    tidy "$full"
    install_entrypoint "$full"

    # The first layer is plain Debian; the second is what PostgreSQL adds to it, found by comparing the two trees.
    say "  packing two layers"
    {
        umoci init --layout "$work/layout"
        umoci new --image "$work/layout:postgres"
        umoci unpack --image "$work/layout:postgres" "$work/bundle"
        rm -rf "$work/bundle/rootfs" && mv "$base" "$work/bundle/rootfs"
        umoci repack --image "$work/layout:postgres" --history.created_by "debootstrap bookworm" "$work/bundle"
        rm -rf --one-file-system "$work/bundle"
        umoci unpack --image "$work/layout:postgres" "$work/bundle"
        rm -rf "$work/bundle/rootfs" && mv "$full" "$work/bundle/rootfs"
        umoci repack --image "$work/layout:postgres" --history.created_by "apt install postgresql-15" "$work/bundle"
        umoci config --image "$work/layout:postgres" --no-history \
            --config.entrypoint /usr/local/bin/postgres-entrypoint \
            --config.cmd postgres \
            --config.env PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            --config.env PGDATA=/var/lib/postgresql/data \
            --config.exposedports 5432/tcp \
            --config.stopsignal SIGINT \
            --config.label org.opencontainers.image.title=PostgreSQL
        umoci gc --layout "$work/layout"
        # The name under which it is loaded; umoci takes a tag only.
        sed -i 's,"postgres","docker.io/library/postgres:15",' "$work/layout/index.json"
    } >>"$log" 2>&1
    tar -C "$work/layout" -cf "$image.part" .
    mv "$image.part" "$image"
    say "  made $(basename "$image"), $(du -h "$image" | cut -f1)"
}

bootstrap() { # bootstrap TARGET MIRROR [OPTION...]
    local target=$1 mirror=$2 attempt
    shift 2
    for attempt in 1 2 3; do
        say "  debootstrap $(basename "$target")"
        debootstrap --variant=minbase --cache-dir="$cache/packages" "$@" bookworm "$target" "$mirror" >>"$log" 2>&1 &&
            return 0
        rm -rf --one-file-system "$target"
        sleep $((attempt * 3))
    done
    return 1
}

# The mirror that this machine's apt uses for bookworm, whatever the format of its lists.
apt_mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(SITE) $(REPO_URI) $(CODENAME)' 2>/dev/null |
        awk '$3 == "bookworm" && $2 !~ /security/ { print $2; exit }')
    [ -n "$uri" ] || uri=$(awk '/^deb / && $3 == "bookworm" { print $2; exit }
                                /^URIs:/ { u = $2 } /^Suites:.*bookworm( |$)/ { print u; exit }' \
        /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null)
    printf '%s\n' "${uri:-http://deb.debian.org/debian}"
}

# What says something about this machine, or only fattens the image.
tidy() { # tidy ROOT
    local root=$1
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/* \
        "$root"/var/log/* "$root"/var/lib/postgresql/15 "$root"/etc/postgresql/15 "$root"/run/* "$root"/tmp/* \
        "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old \
        "$root"/etc/machine-id
    echo 'deb http://deb.debian.org/debian bookworm main' >"$root/etc/apt/sources.list"
    echo debian >"$root/etc/hostname"
    : >"$root/etc/resolv.conf"
}

install_entrypoint() { # install_entrypoint ROOT
    cat >"$1/usr/local/bin/postgres-entrypoint" <<'SCRIPT'
#!/bin/sh
# Makes the cluster at the first start, then becomes the server, as the user postgres.
set -e
if [ "$1" != postgres ]; then exec "$@"; fi
if [ "$(id -u)" = 0 ]; then
    install -d -o postgres -g postgres -m 0700 "$PGDATA"
    install -d -o postgres -g postgres -m 2775 /run/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
export HOME=/var/lib/postgresql
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb -D "$PGDATA" --encoding=UTF8 --locale=C --auth=trust
    echo 'host all all all trust' >>"$PGDATA/pg_hba.conf"
fi
shift
exec postgres -D "$PGDATA" -c listen_addresses='*' "$@"
SCRIPT
    chmod 755 "$1/usr/local/bin/postgres-entrypoint"
}

main "$@"
