engine() {
    podman --root "$DIR/root" --runroot "$DIR/run" --tmpdir "$DIR/tmp" --runtime "$RUNTIME" --cgroup-manager cgroupfs \
        --events-backend file --log-level error "$@"
}
# Its own defaults are more than a machine without CAP_SYS_RESOURCE can give.
limits="--ulimit nofile=1000:1000 --ulimit nproc=1000:1000 --network none"
run() { engine run $limits "$@"; }

ends 0 engine load -i "$IMAGE"
is hello run --rm busybox:1 echo hello
ends 7 run --rm busybox:1 sh -c 'exit 7'
ends 0 run -d --name web busybox:1 sh -c 'echo logged; exec sleep 1000'
is logged engine logs web
is "5 6" engine exec -u 5:6 web sh -c 'echo $(id -u) $(id -g)'
is "/etc b" engine exec -w /etc -e A=b web sh -c 'echo $(pwd) $A'
export -f engine run on_terminal; export DIR RUNTIME limits
is /dev/pts/0 on_terminal bash -c "'engine exec -t web tty'"
is /dev/pts/0 on_terminal bash -c "'run --rm -t busybox:1 tty'"
says 'sleep 1000' engine top web
ends 0 engine pause web
is paused engine inspect -f '{{.State.Status}}' web
ends 0 engine unpause web
ends 0 engine update --memory 64m web
limit=$(find /sys/fs/cgroup -path '*libpod-*' \( -name memory.limit_in_bytes -o -name memory.max \) | head -n 1)
is 67108864 cat "$limit"
says 'web' engine stats --no-stream
ends 137 run --rm --memory 16m busybox:1 sh -c "$eat_memory"
ends 0 engine stop -t 1 web
is 'exited 137' engine inspect -f '{{.State.Status}} {{.State.ExitCode}}' web
ends 0 engine start web
ends 0 engine restart -t 1 web
ends 0 engine kill web
ends 0 engine rm -f web
ends 0 run --rm --privileged busybox:1 true
ends 127 run --rm busybox:1 no-such-program

# Podman wants CRIU to be there, asks it for its version, and leaves the work to the runtime.
mkdir -m 777 "$DIR/warm"
ends 0 run -d --name warm -v "$DIR/warm:/warm" busybox:1 \
    sh -c 'i=0; while :; do i=$((i + 1)); echo $i >>/warm/count; sleep 0.05; done'
goes_on() { # it has counted farther, and never began anew
    local before
    before=$(wc -l <"$DIR/warm/count")
    soon bash -c "[ \"\$(wc -l <'$DIR/warm/count')\" -gt $((before + 2)) ]"
    is "$(seq "$(wc -l <"$DIR/warm/count")" | head -n "$before" | md5sum)" bash -c "head -n $before '$DIR/warm/count' | md5sum"
    is 1 grep -cx 1 "$DIR/warm/count"
}
goes_on
ends 0 engine container checkpoint warm
is exited engine inspect -f '{{.State.Status}}' warm
ends 0 engine container restore warm
goes_on
ends 0 engine container checkpoint --leave-running --export "$DIR/warm.tar.gz" warm
goes_on
ends 0 engine container checkpoint --export "$DIR/warm.tar.gz" warm
ends 0 engine rm warm
ends 0 engine container restore --import "$DIR/warm.tar.gz"
goes_on
ends 0 engine rm -f -t 0 warm
well_done
