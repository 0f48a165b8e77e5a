#!/bin/bash
# Warm clones, shown: a PostgreSQL with a prepared database and warm buffers, a Redis full of data, a Python service as a
# warm image. Run it with `make demo-clone`.
#
# Everything it makes lies in one directory (WHARF_DEMO_DIR, /var/lib/wharf-demo-clone) and is gone at the end, also after
# Ctrl-C. Your own containers and images are not touched.
#
#   WHARF_DEMO_CLONES=50     databases that are cloned
#   WHARF_DEMO_ROWS=1500000  rows in the database, about 200 MB
#   WHARF_DEMO_REDIS=1000    megabytes in the Redis
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${WHARF_DEMO_DIR:-/var/lib/wharf-demo-clone}
clones=${WHARF_DEMO_CLONES:-50}
rows=${WHARF_DEMO_ROWS:-1500000}
redis_size=${WHARF_DEMO_REDIS:-1000}
bin=${WHARF_DEMO_BIN:-$PWD/build}
export PATH=$PATH:/usr/sbin:/sbin PGUSER=postgres PGCONNECT_TIMEOUT=3 LC_ALL=C
export dir bin

wharf() { "$bin/wharf" --root "$dir/root" --runroot "$dir/run" "$@"; }
export -f wharf

# -- saying what happens ----------------------------------------------------------------------------------------------

title() { printf '\n%s\n%s\n' "$1" "${1//?/-}"; }
say() { printf '  %s\n' "$*"; }
fact() { printf '    %-58s %s\n' "$1" "$2"; }
die() { printf '\ndemo: %s\n' "$*" >&2; exit 1; }

now() { printf '%s' "${EPOCHREALTIME/./}"; } # microseconds
ms() { awk -v us="$1" 'BEGIN { printf us < 1e4 ? "%.1f ms" : us < 1e6 ? "%.0f ms" : "%.2f s", us < 1e6 ? us / 1e3 : us / 1e6 }'; }
took() { ms "$(($(now) - $1))"; }
mb() { awk -v bytes="$1" 'BEGIN { printf bytes < 1e6 ? "%.0f KB" : bytes < 1e9 ? "%.1f MB" : "%.2f GB", bytes < 1e6 ? bytes / 1e3 : bytes < 1e9 ? bytes / 1e6 : bytes / 1e9 }'; }
disk() { du -s --block-size=1 "$@" 2>/dev/null | awk '{ sum += $1 } END { printf "%.0f", sum }'; }
# Where files share blocks, du counts these again and again; the file system knows.
used() {
    case $(stat -f -c %T "$dir") in
        xfs | btrfs) sync -f "$dir"; df -B1 --output=used "$dir" | tail -n 1 ;;
        *) disk "$dir/root" ;;
    esac
}
available() { awk '/^MemAvailable:/ { printf "%.0f", $2 * 1024 }' /proc/meminfo; }
median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

# Waits until COMMAND succeeds; a hundredth of a second in between.
until_it() { # until_it SECONDS COMMAND...
    local end=$(($(now) + $1 * 1000000))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(now)" -lt "$end" ] || die "waited in vain: $*"
        sleep 0.01
    done
}

# -- leaving nothing behind -------------------------------------------------------------------------------------------

clean_up() {
    local status=$? ids
    trap - EXIT
    trap '' INT TERM
    ids=$(wharf ps -aq 2>/dev/null || true)
    [ -z "$ids" ] || wharf rm -f -v $ids >/dev/null 2>&1 || true
    ids=$(wharf template ls -q 2>/dev/null || true)
    [ -z "$ids" ] || wharf template rm $ids >/dev/null 2>&1 || true
    [ -z "${registry:-}" ] || kill "$registry" 2>/dev/null || true
    if [ -n "${bridge:-}" ]; then
        ip link del "$bridge" 2>/dev/null || true
        nft list tables 2>/dev/null | grep -wF -- "$bridge" | sed 's/^table/delete table/' | nft -f - 2>/dev/null || true
    fi
    rm -rf --one-file-system "$dir" || status=1
    [ $status -eq 0 ] || printf '\ndemo: did not get through (exit code %s); everything it made was removed\n' $status >&2
    exit $status
}

# -- the three parts --------------------------------------------------------------------------------------------------

main() {
    [ "$(id -u)" = 0 ] || die "needs root: sudo make demo-clone"
    [ -x "$bin/wharf" ] || die "no $bin/wharf: run make first"
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
    begin=$(now)
    prepare_database "$image"
    clone_database
    run_database
    clone_redis
    warm_image
    title "Nothing is left"
    local start
    start=$(now)
    wharf rm -f -v $(wharf ps -aq) >/dev/null
    wharf template rm $(wharf template ls -q) >/dev/null
    fact "containers and templates removed in" "$(took "$start")"
    fact "files of templates that are left" "$(find "$dir/root/templates" -mindepth 1 -type d | wc -l)"
    printf '\nAll of it took %s.\n' "$(took "$begin")"
}

psql_in() { wharf exec "$1" psql -h 127.0.0.1 -U postgres -Atqc "$2"; }
export -f psql_in

prepare_database() { # prepare_database IMAGE
    title "1. A PostgreSQL with $rows rows, its buffers warm"
    local name
    wharf load -q --input "$1" >/dev/null
    name=$(wharf images --format '{{.Repository}}:{{.Tag}}' | head -n 1)
    wharf run -d --name db "$name" postgres -c shared_buffers=128MB >/dev/null
    bridge=$(ip route get "$(wharf inspect --format '{{.NetworkSettings.IPAddress}}' db)" | sed -n 's/.* dev \([^ ]*\) .*/\1/p')
    until_it 60 psql_in db 'select 1'
    psql_in db "create table boats (id int primary key, name text, owner text);
        insert into boats select n, 'boat ' || n, md5(n::text) from generate_series(1, $rows) n; analyze; checkpoint;"
    psql_in db 'select count(*), max(length(owner)) from boats' >/dev/null
    fact "the database" "$(psql_in db 'select pg_size_pretty(pg_database_size(current_database()))')"
}

# One test: changes its own database, and sees nobody else's change.
one_test() { # one_test CONTAINER
    psql_in "$1" "update boats set owner = '$1' where id <= 100; insert into boats values (0, '$1', '$1');" &&
        [ "$(psql_in "$1" "select count(*), count(distinct owner), min(owner) from boats where id <= 100")" = "101|1|$1" ]
}
export -f one_test

clone_database() {
    title "2. $clones clones of it, a test in each"
    local start before memory names bad
    before=$(used)
    start=$(now)
    wharf clone --keep-template=warm db 0
    fact "the template is kept: wharf clone --keep-template=warm db 0" "$(took "$start")"
    fact "its files and its memory on the disk" "$(mb $(($(used) - before)))"
    before=$(used) memory=$(available)
    start=$(now)
    wharf clone --name-prefix t -p 5432 warm "$clones" >/dev/null
    fact "wharf clone --name-prefix t -p 5432 warm $clones" "$(took "$start")"
    names=$(seq -f 't-%g' "$clones")
    printf '%s\n' $names | xargs -P 8 -I NAME bash -c "psql_in NAME 'select count(*) from boats' | grep -qx $rows" || die "a clone does not answer"
    fact "all of them have answered after" "$(took "$start")"
    fact "memory for each" "$(mb $(((memory - $(available)) / clones)))"
    fact "disk for each" "$(mb $((($(used) - before) / clones)))"
    start=$(now)
    bad=$(printf '%s\n' $names | xargs -P 8 -I NAME bash -c 'one_test NAME || echo NAME')
    [ -z "$bad" ] || die "these tests failed: $bad"
    fact "$clones tests, each in its own database, passed in" "$(took "$start")"
    [ "$(psql_in db 'select count(*) from boats')" = "$rows" ] || die "the original was changed"
    fact "rows of the original" "$rows, as before"
    start=$(now)
    wharf rm -f $names >/dev/null
    fact "removed in" "$(took "$start")"
    say "one at a time, to the first answer:"
    for n in 1 2 3 4 5 6 7; do
        start=$(now)
        wharf clone --name one -p 127.0.0.1:15432:5432 warm >/dev/null
        until_it 60 psql -h 127.0.0.1 -p 15432 -Atqc 'select 1'
        echo $(($(now) - start))
        wharf rm -f one >/dev/null
    done | median | { read -r us; fact "clone, until psql on the host has its answer" "$(ms "$us")"; }
}

run_database() {
    title "3. The same with run of a prepared image"
    local start
    wharf stop db >/dev/null # an orderly end: its image needs no repair
    wharf commit db prepared >/dev/null
    start=$(now)
    wharf run -d --name cold prepared >/dev/null
    until_it 60 psql_in cold 'select count(*) from boats'
    fact "first run of the image, with unpacking, to the first answer" "$(took "$start")"
    wharf rm -f cold >/dev/null
    for n in 1 2 3 4 5; do
        start=$(now)
        wharf run -d --name cold -p 127.0.0.1:15432:5432 prepared >/dev/null
        until_it 60 psql -h 127.0.0.1 -p 15432 -Atqc 'select 1'
        echo $(($(now) - start))
        [ "$n" = 5 ] || wharf rm -f cold >/dev/null
    done | median | { read -r us; fact "run, until psql on the host has its answer" "$(ms "$us")"; }
    psql_in cold 'select count(*) from boats' >/dev/null
    fact "its disk" "$(mb "$(disk "$dir/root/snapshots/active/$(wharf inspect --format '{{.Id}}' cold)")")"
    wharf rm -f cold db >/dev/null
}

# An image with nothing in it: the machine's /usr is mounted there.
bare_image() {
    local root=$dir/bare
    mkdir -p "$root"/{usr,etc,tmp,run,srv}
    for name in bin sbin lib lib64; do ln -sfn "usr/$name" "$root/$name"; done
    echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
    tar -C "$root" -c . | wharf import - bare >/dev/null
}

redis() { wharf exec "$1" redis-cli "${@:2}"; }
export -f redis

clone_redis() {
    title "4. A Redis with $redis_size MB, cloned ten times"
    [ -x /usr/bin/redis-server ] || { say "no redis-server on this machine: left out"; return; }
    bare_image
    local start memory one
    wharf run -d --name redis -v /usr:/usr:ro bare redis-server --save '' --enable-debug-command yes >/dev/null
    until_it 20 redis redis ping
    redis redis debug populate "$((redis_size * 1000))" key 900 >/dev/null
    one=$(awk '/^Pss:/ { printf "%.0f", $2 * 1024 }' "/proc/$(wharf inspect --format '{{.State.Pid}}' redis)/smaps_rollup")
    fact "its memory" "$(mb "$one")"
    memory=$(available)
    start=$(now)
    wharf clone --name-prefix r redis 10 >/dev/null
    fact "wharf clone --name-prefix r redis 10" "$(took "$start")"
    for n in 1 2 3 4 5 6 7 8 9 10; do
        [ "$(redis "r-$n" dbsize)" = "$((redis_size * 1000))" ] || die "r-$n lost keys"
        redis "r-$n" set mine "$n" >/dev/null
    done
    for n in 1 2 3 4 5 6 7 8 9 10; do [ "$(redis "r-$n" get mine)" = "$n" ] || die "r-$n has another's key"; done
    [ -z "$(redis redis get mine)" ] || die "the original was changed"
    fact "all of them answer, and have their own keys, after" "$(took "$start")"
    fact "memory of the ten together" "$(mb $((memory - $(available))))"
    wharf rm -f redis $(seq -f 'r-%g' 10) >/dev/null
}

warm_image() {
    title "5. A Python service as a warm image"
    [ -x /usr/bin/python3 ] || { say "no /usr/bin/python3 on this machine: left out"; return; }
    [ -d "$dir/bare" ] || bare_image
    cat >"$dir/bare/srv/service.py" <<'PYTHON'
import http.server
words = {n: "word %d " % n * 8 for n in range(1_000_000)}  # what takes its time at the start
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(words[123456][:11].encode())
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 80), Answer).serve_forever()
PYTHON
    tar -C "$dir/bare" -c . | wharf import - service >/dev/null
    local run start name port
    run() { wharf run -d --name "$1" -v /usr:/usr:ro -p 127.0.0.1:18080:80 "$2" /usr/bin/python3 /srv/service.py >/dev/null; }
    answers() { [ "$(timeout 1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/18080; printf "GET / HTTP/1.0\r\n\r\n" >&3; tail -n 1 <&3')" = "word 123456" ]; }
    start=$(now)
    run service service
    until_it 60 answers
    fact "cold, to the first answer" "$(took "$start")"
    start_registry
    name=127.0.0.1:$registry_port/demo/service:warm
    start=$(now)
    wharf commit --memory service "$name" >/dev/null
    fact "wharf commit --memory" "$(took "$start")"
    wharf rm -f service >/dev/null
    start=$(now)
    wharf push -q "$name" >/dev/null
    fact "pushed, $(mb "$(disk "$dir/registry/data")") in the registry" "$(took "$start")"
    wharf rmi -f "$name" >/dev/null
    start=$(now)
    wharf pull -q "$name" >/dev/null
    fact "pulled again" "$(took "$start")"
    start=$(now)
    run service "$name"
    until_it 60 answers
    fact "warm, to the first answer" "$(took "$start")"
}

start_registry() {
    registry_port=$((20000 + RANDOM % 20000))
    mkdir -p "$dir/registry"
    cat >"$dir/registry/config.yml" <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $dir/registry/data}}
http: {addr: "127.0.0.1:$registry_port"}
YAML
    docker-registry serve "$dir/registry/config.yml" >"$dir/registry/log" 2>&1 8>&- &
    registry=$!
    until_it 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$registry_port"
}

main "$@"
