#!/bin/bash
# The main road, shown: a real image, a real registry, a real PostgreSQL. Run it with `make demo`.
#
# Everything it makes lies in one directory (WHARF_DEMO_DIR, /var/lib/wharf-demo) and is gone at the end, also after
# Ctrl-C. Your own containers and images are not touched.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${WHARF_DEMO_DIR:-/var/lib/wharf-demo}
copies=${WHARF_DEMO_COPIES:-100}
bin=$PWD/build
export PGUSER=postgres PGCONNECT_TIMEOUT=3 LC_ALL=C

# shellcheck source=demo/show.sh
. demo/show.sh

# -- leaving nothing behind -------------------------------------------------------------------------------------------

clean_up() {
    local status=$? ids
    trap - EXIT
    trap '' INT TERM
    ids=$(wharf ps -aq 2>/dev/null || true)
    [ -z "$ids" ] || wharf rm -f $ids >/dev/null 2>&1 || true
    [ -z "${registry:-}" ] || kill "$registry" 2>/dev/null || true
    [ -z "${bridge:-}" ] || remove_network "$bridge"
    rm -rf --one-file-system "$dir" || status=1
    [ $status -eq 0 ] || printf '\ndemo: did not get through (exit code %s); everything it made was removed\n' $status >&2
    exit $status
}

# -- the road ---------------------------------------------------------------------------------------------------------

main() {
    [ "$(id -u)" = 0 ] || die "needs root: sudo make demo"
    [ -x "$bin/wharf" ] || die "no build/wharf: run make first"
    local image begin
    image=$(scripts/postgres-image.sh)
    export HOME=$dir # no login of yours is used

    mkdir -p "$dir"
    chmod 700 "$dir"
    exec 8>"$dir/.lock"
    flock -n 8 || die "another demo is running in $dir"
    rm -rf --one-file-system "${dir:?}/root" "${dir:?}/run" "${dir:?}/registry"
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    title "Wharf: pull, run, change, commit, push"
    say "$("$bin/wharf" --version): $(du -h --apparent-size "$bin/wharf" | cut -f1) wharf, $(du -h --apparent-size "$bin/wharf-runtime" | cut -f1) wharf-runtime, both static, no daemon"
    start_registry
    say "docker-registry $(docker-registry --version 2>/dev/null | awk '{ print $3 }') listens on 127.0.0.1:$registry_port"

    begin=$(now)
    there_and_back "$image"
    a_database
    only_the_difference
    many_at_once
    title "5. Nothing is left"
    local start
    start=$(now)
    wharf rm -f $(wharf ps -aq) >/dev/null
    fact "containers and what they wrote removed in" "$(took "$start")"
    fact "processes of Wharf that still run" "$(monitors | wc -w)"
    start=$(now)
    wharf rmi -f $(wharf images -q | sort -u) >/dev/null
    fact "images removed in" "$(took "$start")"
    fact "the store is down to" "$(mb "$(disk "$dir/root")")"
    printf '\nThe whole road took %s.\n' "$(took "$begin")"
}

start_registry() {
    for registry_port in 5000 5001 5002 5003 5004 5005 $((20000 + RANDOM % 20000)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$registry_port") 2>/dev/null || break
    done
    mkdir -p "$dir/registry"
    cat >"$dir/registry/config.yml" <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $dir/registry/data}}
http: {addr: "127.0.0.1:$registry_port"}
YAML
    docker-registry serve "$dir/registry/config.yml" >"$dir/registry/log" 2>&1 8>&- &
    registry=$!
    for _ in $(seq 100); do
        (exec 3<>"/dev/tcp/127.0.0.1/$registry_port") 2>/dev/null && break
        sleep 0.1
    done
    kill -0 $registry 2>/dev/null || { cat "$dir/registry/log" >&2; die "docker-registry does not start"; }
    name=127.0.0.1:$registry_port/demo/db
}

there_and_back() { # there_and_back IMAGE
    title "1. A real image to a real registry and back"
    local loaded layers
    run load --input "$1"
    loaded=$(wharf images --format '{{.Repository}}:{{.Tag}}' | head -n 1)
    run tag "$loaded" "$name:v1"
    run push "$name:v1"
    fact "the registry now stores" "$(mb "$(disk "$dir/registry/data")")"
    run rmi "$loaded" "$name:v1"
    run pull "$name:v1"
    layers=$(wharf inspect --type image --format '{{len .RootFS.Layers}}' "$name:v1")
    unpacked=$(disk "$dir/root/snapshots")
    fact "unpacked: Debian 12, PostgreSQL 15" "$(mb "$unpacked") in $layers layers"
}

a_database() {
    title "2. PostgreSQL behind a published port"
    local start
    port=15432
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && port=$((16000 + RANDOM % 10000))
    start=$(now)
    run run -d --name db -p "127.0.0.1:$port:5432" "$name:v1"
    bridge=$(ip route get "$(wharf inspect --format '{{.NetworkSettings.IPAddress}}' db)" | sed -n 's/.* dev \([^ ]*\) .*/\1/p')
    until psql -h 127.0.0.1 -p "$port" -Atqc 'select 1' >/dev/null 2>&1; do
        [ $(($(now) - start)) -lt 60000000 ] || { wharf logs --tail 20 db >&2; die "PostgreSQL does not answer"; }
        sleep 0.05
    done
    fact "from nothing to the first answer (with initdb)" "$(took "$start")"
    say "\$ psql -h 127.0.0.1 -p $port"
    psql -h 127.0.0.1 -p "$port" -qc "create table boats (id int primary key, name text);
        insert into boats select n, 'boat ' || n from generate_series(1, 50000) n; checkpoint;"
    fact "$(psql -h 127.0.0.1 -p "$port" -Atc "select split_part(version(), ' (', 1)")" \
        "$(psql -h 127.0.0.1 -p "$port" -Atc 'select count(*) from boats') rows written"
    run exec db du -sh /var/lib/postgresql/data
}

only_the_difference() {
    title "3. Commit and push: only the difference"
    local before after
    run stop db
    before=$(disk "$dir/root/content")
    run commit db "$name:v2"
    after=$(disk "$dir/root/content")
    fact "the image v2 adds to the local store" "$(mb $((after - before)))"
    before=$(disk "$dir/registry/data")
    run push "$name:v2"
    fact "the push added to the registry" "$(mb $(($(disk "$dir/registry/data") - before))) of $(mb "$(disk "$dir/registry/data")")"
    run rm db
    run rmi "$name:v1" "$name:v2"
    fact "images left" "$(wharf images -aq | wc -l)"
    run pull "$name:v2"
    local start
    start=$(now)
    run run -d --name db2 -p "127.0.0.1:$port:5432" "$name:v2"
    until rows=$(psql -h 127.0.0.1 -p "$port" -Atc 'select count(*) from boats' 2>/dev/null); do
        [ $(($(now) - start)) -lt 60000000 ] || { wharf logs --tail 20 db2 >&2; die "PostgreSQL does not answer"; }
        sleep 0.02
    done
    fact "from run to the answer" "$(took "$start")"
    fact "rows in a container of the pulled image" "$rows"
    [ "$rows" = 50000 ] || die "rows were lost"
    wharf rm -f db2 >/dev/null
}

many_at_once() {
    title "4. $copies databases at once"
    local start memory_before memory_after disk_before disk_each started answered bad pss count ips whole
    unpacked=$(disk "$dir/root/snapshots")
    memory_before=$(available)
    disk_before=$(disk "$dir/root" "$dir/run")
    say "\$ for n in \$(seq $copies); do wharf run -d --name db-\$n ${name#*/}:v2; done      (8 at a time)"
    start=$(now)
    seq "$copies" | xargs -P 8 -I N "$bin/wharf" --root "$dir/root" --runroot "$dir/run" run -d --name db-N "$name:v2" >/dev/null ||
        die "not all of them started"
    started=$(took "$start")
    ips=$(wharf inspect --format '{{.NetworkSettings.IPAddress}}' $(wharf ps -q))
    bad=$(printf '%s\n' $ips | xargs -P 8 -I IP bash -c '
        for _ in $(seq 300); do
            rows=$(psql -h IP -Atc "select count(*) from boats" 2>/dev/null) && break
            sleep 0.1
        done
        [ "${rows:-}" = 50000 ] || echo IP')
    answered=$(took "$start")
    [ -z "$bad" ] || die "no answer from: $bad"
    memory_after=$(available)
    count=$(wharf ps -q | wc -l)
    pss=$(monitors | xargs -n 1 | while read -r pid; do awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null; done |
        awk '{ sum += $1 } END { printf "%.0f", sum }')
    disk_each=$((($(disk "$dir/root" "$dir/run") - disk_before) / copies))
    whole=$((unpacked * copies))

    fact "$count started in" "$started"
    fact "all $count answer SQL, 50000 rows each, after" "$answered"
    printf '\n    %-24s %14s %14s %18s\n' "" "each" "$copies of them" "$copies full copies"
    printf '    %-26s %12s %14s %18s\n' "disk" "$(mb $disk_each)" "$(mb $((disk_each * copies)))" "$(mb $whole)"
    printf '    %-26s %12s %14s %18s\n' "memory, PostgreSQL and all" "$(mb $(((memory_before - memory_after) * 1024 / copies)))" "$(mb $(((memory_before - memory_after) * 1024)))" "-"
    printf '    %-26s %12s %14s %18s\n\n' "memory of Wharf itself" "$(mb $((pss * 1024 / copies)))" "$(mb $((pss * 1024)))" "-"
}

available() { awk '/^MemAvailable:/ { print $2 }' /proc/meminfo; } # KB

# The process numbers of the monitors of this store.
monitors() {
    local process
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/exe" 2>/dev/null)" ] || continue
        if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -q '^[^ ]*wharf-runtime monitor'; then printf '%s ' "${process#/proc/}"; fi
    done
}

main "$@"
