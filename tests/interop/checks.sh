# Before each engine's script: RUNTIME, DIR, IMAGE and how things are checked.
set -u
RUNTIME=$1 DIR=$2/engine IMAGE=$3
mkdir -p "$DIR"
mount -t tmpfs tmpfs /run
mkdir -p /run/lock
busybox ip link set lo up
export PATH=$PATH:/usr/sbin:/sbin HOME=$DIR TMPDIR=$DIR
cd "$DIR" # where conmon leaves a file named oom
groups_before=$(find /sys/fs/cgroup -mindepth 2 -type d | sort)

give_up() { printf 'NOT AS IT SHOULD BE: %s\n' "$*"; exit 1; }

is() { # is WANTED COMMAND...: what it prints, without line ends of terminals and at the end
    local wanted=$1 got
    shift
    got=$("$@" 2>"$DIR/stderr" | tr -d '\r\000') || true
    [ "$got" = "$wanted" ] || give_up "$*: wanted $wanted, got $got, $(tail -n 3 "$DIR/stderr")"
}

ends() { # ends CODE COMMAND...
    local wanted=$1 code=0
    shift
    "$@" >"$DIR/stdout" 2>"$DIR/stderr" || code=$?
    [ $code = "$wanted" ] || give_up "$*: wanted exit code $wanted, got $code, $(tail -n 3 "$DIR/stdout" "$DIR/stderr")"
}

says() { # says PATTERN COMMAND...: somewhere in all that it prints
    local wanted=$1
    shift
    "$@" >"$DIR/both" 2>&1 || true
    grep -Eq -- "$wanted" "$DIR/both" || give_up "$*: nothing like $wanted in: $(tail -n 5 "$DIR/both")"
}

soon() { # soon COMMAND...: within 30 seconds
    local turn
    for turn in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    give_up "$*: never came true"
}

# bash, whatever the user's shell: others drop the functions that were exported.
on_terminal() { SHELL=$BASH script -qec "$*" /dev/null </dev/null; }

eat_memory='a=$(head -c 100000000 /dev/zero | tr "\0" x)'

# The groups that the engine made for itself go when it has gone.
well_done() {
    local group
    for group in $(find /sys/fs/cgroup -mindepth 2 -type d | sort -r); do
        grep -qxF "$group" <<<"$groups_before" || rmdir "$group" 2>/dev/null
    done
    echo "all as it should be"
}
