#!/bin/bash
# Containers that remember, shown: PostgreSQL and a Redis of 1 GB, each with a client that never stops asking, are
# suspended, resumed, checkpointed, and restored twice side by side. Run it with `make demo-memory`.
#
# Everything it makes lies in one directory (WHARF_DEMO_DIR, /var/lib/wharf-demo) and is gone at the end, also after
# Ctrl-C. Your own containers and images are not touched.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${WHARF_DEMO_DIR:-/var/lib/wharf-demo}
keys=${WHARF_DEMO_KEYS:-100000} # of about 10 KB each
bin=$PWD/build
export PGUSER=postgres PGCONNECT_TIMEOUT=3 LC_ALL=C
# shellcheck source=demo/show.sh
. demo/show.sh

# -- leaving nothing behind -------------------------------------------------------------------------------------------

clean_up() {
    local status=$? names
    trap - EXIT
    trap '' INT TERM
    stop_clients
    names=$(wharf ps -aq 2>/dev/null || true)
    [ -z "$names" ] || wharf rm -f $names >/dev/null 2>&1 || true
    names=$(wharf checkpoint ls -q 2>/dev/null || true)
    [ -z "$names" ] || wharf checkpoint rm $names >/dev/null 2>&1 || true
    [ -z "${bridge:-}" ] || remove_network "$bridge"
    rm -rf --one-file-system "$dir" || status=1
    [ $status -eq 0 ] || printf '\ndemo: did not get through (exit code %s); everything it made was removed\n' $status >&2
    exit $status
}

# -- the road ---------------------------------------------------------------------------------------------------------

main() {
    [ "$(id -u)" = 0 ] || die "needs root: sudo make demo-memory"
    [ -x "$bin/wharf" ] || die "no build/wharf: run make first"
    local image begin
    image=$(scripts/postgres-image.sh)
    export HOME=$dir

    mkdir -p "$dir"
    chmod 700 "$dir"
    exec 8>"$dir/.lock"
    flock -n 8 || die "another demo is running in $dir"
    rm -rf --one-file-system "${dir:?}/root" "${dir:?}/run" "${dir:?}/clients" "${dir:?}/redis"
    mkdir "$dir/clients"
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    begin=$(now)
    title "Containers that remember"
    wharf load --quiet --input "$image" >/dev/null
    redis_image
    start_both
    suspend_and_resume
    checkpoint_and_restore
    printf '\nAll of it took %s.\n' "$(took "$begin")"
}

# This machine's Redis with the libraries that it needs, as an image.
redis_image() {
    local root=$dir/redis program
    program=$(readlink -f "$(command -v redis-server)")
    mkdir -p "$root/bin" "$root/data" "$root/tmp"
    cp "$program" "$root/bin/redis-server"
    ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
        install -D "$library" "$root$library"
    done
    tar -C "$root" -c . | wharf import --change 'ENTRYPOINT ["/bin/redis-server"]' --change 'EXPOSE 6379' - redis >/dev/null
    rm -rf "${root:?}"
}

# A free port from this one on.
free_port() { # free_port FIRST
    local port=$1
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 100)); done
    printf '%s' "$port"
}

start_both() {
    title "1. Two servers, each with a client that never stops"
    pg_port=$(free_port 15432)
    redis_port=$(free_port 16379)
    local postgres
    postgres=$(wharf images --format '{{.Repository}}:{{.Tag}}' | grep postgres)
    run run -d --name db -p "127.0.0.1:$pg_port:5432" "$postgres"
    bridge=$(ip route get "$(wharf inspect --format '{{.NetworkSettings.IPAddress}}' db)" | sed -n 's/.* dev \([^ ]*\) .*/\1/p')
    run run -d --name cache -p "127.0.0.1:$redis_port:6379" redis --save '' --protected-mode no --dir /data
    await pg "$pg_port" 'select 1' 1
    psql -h 127.0.0.1 -p "$pg_port" -qc "create table boats (id int primary key, name text);
        insert into boats select n, 'boat ' || n from generate_series(1, 500000) n;
        create table rounds (n bigint primary key)"
    await redis "$redis_port" PING PONG
    say "filling Redis with $keys values"
    local from
    for ((from = 1; from <= keys; from += 5000)); do
        ask redis "$redis_port" EVAL "for i = ARGV[1], math.min(ARGV[1] + 4999, $keys) do
            redis.call('SET', 'key:' .. i, string.rep(i .. ' ', 1700)) end" 0 "$from" >/dev/null
    done
    fact "Redis has" "$(ask redis "$redis_port" DBSIZE) keys, $(mb "$(in_redis used_memory)") of memory"
    fact "PostgreSQL has" "$(ask pg "$pg_port" 'select count(*) from boats') rows, $(wharf top db | tail -n +2 | wc -l) processes"
    client pg "$pg_port" &
    clients=$!
    client redis "$redis_port" &
    clients+=" $!"
    sleep 1
    say "the clients have made $(acknowledged pg) inserts and $(acknowledged redis) increments"
}

suspend_and_resume() {
    title "2. Suspend: the memory goes to the disk and is freed. Resume: they go on in the middle"
    local before
    before=$(available)
    run suspend db cache
    fact "processes of theirs that are left" "$(wharf ps -q | wc -l)"
    fact "memory that was freed" "$(mb $((($(available) - before) * 1024)))"
    wharf ps -a --format '{{.Names}}	{{.Status}}' | sed 's/^/    /'
    again resume cache redis "$redis_port" PING PONG
    again resume db pg "$pg_port" 'select 1' 1
    sleep 1
    verify pg "$pg_port" db
    verify redis "$redis_port" cache
    say "the clients went on by themselves: $(acknowledged pg) inserts and $(acknowledged redis) increments by now"
}

checkpoint_and_restore() {
    title "3. Checkpoint them while they work, and restore each twice, side by side"
    run checkpoint --leave-running --tcp-close db db-warm
    run checkpoint --leave-running --tcp-close cache cache-warm
    wharf checkpoint ls | sed 's/^/    /'
    stop_clients
    local number port
    for number in 2 3; do
        port=$(free_port $((pg_port + number)))
        again "restore db-warm --name db$number -p 127.0.0.1:$port:5432" "" pg "$port" 'select 1' 1
        verify pg "$port" "db$number"
        ask pg "$port" "create table only_in_$number ()" >/dev/null
        port=$(free_port $((redis_port + number)))
        again "restore cache-warm --name cache$number -p 127.0.0.1:$port:6379" "" redis "$port" PING PONG
        verify redis "$port" "cache$number"
        ask redis "$port" SET only "$number" >/dev/null
    done
    verify pg "$pg_port" db
    verify redis "$redis_port" cache
    local tables
    tables=$(ask pg "$pg_port" "select count(*) from pg_tables where tablename like 'only%'")
    [ "$tables" = 0 ] || die "what one wrote another has"
    fact "tables that the copies made, seen by the original" "$tables"
    wharf ps --format '{{.Names}}	{{.Status}}	{{.Ports}}' | sed 's/^/    /'
    run rm -f $(wharf ps -aq)
}

# Does a verb, and says when the server answered for the first time.
again() { # again VERB CONTAINER SERVER PORT QUESTION ANSWER
    local start done
    say "\$ wharf $1 $2"
    start=$(now)
    # shellcheck disable=SC2086
    wharf $1 $2 >/dev/null || die "wharf $1 failed"
    done=$(took "$start")
    await "$3" "$4" "$5" "$6"
    fact "took $done, and to its first answer" "$(took "$start")"
}

# -- servers and clients ----------------------------------------------------------------------------------------------

ask() { # ask SERVER PORT QUESTION...
    local server=$1 port=$2
    shift 2
    case $server in
        pg) psql -h 127.0.0.1 -p "$port" -Atqc "$1" 2>/dev/null ;;
        redis) redis-cli -h 127.0.0.1 -p "$port" "$@" 2>/dev/null ;;
    esac
}

await() { # await SERVER PORT QUESTION ANSWER
    local start
    start=$(now)
    until [ "$(ask "$1" "$2" "$3")" = "$4" ]; do
        [ $(($(now) - start)) -lt 60000000 ] || die "no answer on port $2"
        sleep 0.01
    done
}

# One request after the other, each noted when it was acknowledged.
client() { # client SERVER PORT
    local server=$1 port=$2 number=0
    exec 8>&-
    while :; do
        case $server in
            pg) ask pg "$port" "insert into rounds values ($((number + 1))) on conflict do nothing" ;;
            redis) [ "$(ask redis "$port" SET "round:$((number + 1))" x)" = OK ] ;;
        esac && number=$((number + 1)) && printf '%s\n' "$number" >"$dir/clients/$server.new" &&
            mv "$dir/clients/$server.new" "$dir/clients/$server"
        sleep 0.005
    done
}

acknowledged() { cat "$dir/clients/$1" 2>/dev/null || echo 0; }

stop_clients() {
    [ -n "${clients:-}" ] || return 0
    # shellcheck disable=SC2086
    kill $clients 2>/dev/null || true
    # shellcheck disable=SC2086
    wait $clients 2>/dev/null || true
    clients=
}

in_redis() { ask redis "$redis_port" INFO memory | tr -d '\r' | sed -n "s/^$1://p"; }

# Every value is what it was, and all that was acknowledged before the copy was made is there.
verify() { # verify SERVER PORT NAME
    local start bad rounds
    start=$(now)
    case $1 in
        pg)
            bad=$(ask pg "$2" "select 500000 - count(*) from boats where name = 'boat ' || id")
            rounds=$(ask pg "$2" "select count(*) = max(n) and max(n) >= 1 from rounds")
            ;;
        redis)
            bad=$(ask redis "$2" EVAL "local bad = 0 for i = 1, $keys do
                if redis.call('GET', 'key:' .. i) ~= string.rep(i .. ' ', 1700) then bad = bad + 1 end end return bad" 0)
            rounds=$(ask redis "$2" EVAL "local n = 1 while redis.call('EXISTS', 'round:' .. n) == 1 do n = n + 1 end
                return redis.call('DBSIZE') >= $keys + n - 1 and 't' or 'f'" 0)
            ;;
    esac
    [ "$bad" = 0 ] || die "$3: $bad values are not what they were"
    [ "$rounds" = t ] || die "$3: rounds of its client are missing"
    fact "$3: all content verified, in" "$(took "$start")"
}

available() { awk '/^MemAvailable:/ { print $2 }' /proc/meminfo; } # KB

main "$@"
