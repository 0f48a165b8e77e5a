dockerd --data-root "$DIR/root" --exec-root /run/docker --pidfile /run/docker.pid -H unix:///run/docker.sock \
    --default-ulimit nofile=1000:1000 --oom-score-adjust 0 --log-level error \
    --add-runtime "wharf=$RUNTIME" --default-runtime wharf >"$DIR/log" 2>&1 &
engine() { docker -H unix:///run/docker.sock "$@"; }
soon engine version

ends 0 engine load -i "$IMAGE"
is wharf engine info -f '{{.DefaultRuntime}}'
is hello engine run --rm busybox:1 echo hello
ends 7 engine run --rm busybox:1 sh -c 'exit 7'
ends 0 engine run -d --name web -p 127.0.0.1:8099:80 --memory 64m busybox:1 sh -c 'echo logged; exec sleep 1000'
is logged engine logs web
is "/etc b 5 6" engine exec -u 5:6 -w /etc -e A=b web sh -c 'echo $(pwd) $A $(id -u) $(id -g)'
export -f engine on_terminal
is /dev/pts/0 on_terminal bash -c "'engine exec -t web tty'"
is /dev/pts/0 on_terminal bash -c "'engine run --rm -t busybox:1 tty'"
says 'sleep 1000' engine top web
ends 0 engine pause web
is paused engine inspect -f '{{.State.Status}}' web
ends 0 engine unpause web
ends 0 engine update --memory 32m --memory-swap 32m web
says '/ 32MiB' engine stats --no-stream web
ends 137 engine run --name hungry --memory 16m busybox:1 sh -c "$eat_memory"
is true engine inspect -f '{{.State.OOMKilled}}' hungry
ends 0 engine stop -t 1 web
is 'exited 137' engine inspect -f '{{.State.Status}} {{.State.ExitCode}}' web
ends 0 engine start web
ends 0 engine rm -f web hungry
ends 0 engine run --rm --privileged busybox:1 true
ends 0 engine run --rm --init busybox:1 true
ends 0 engine run --rm --network none --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges busybox:1 \
    touch /tmp/made
ends 127 engine run --rm busybox:1 no-such-program

# A service of a swarm of one.
ip link add to-swarm type veth peer name from-swarm
ip addr add 10.99.0.1/24 dev to-swarm
ip link set to-swarm up
ip link set from-swarm up
ends 0 engine swarm init --advertise-addr 10.99.0.1
ends 0 engine service create -d --name work --replicas 2 --network host busybox:1 sleep 1000
replicas() { [ "$(engine service ls --format '{{.Replicas}}')" = "$1" ]; }
soon replicas 2/2
is "wharf
wharf" engine inspect -f '{{.HostConfig.Runtime}}' $(engine ps -q)
# One that dies is replaced.
ends 0 engine kill "$(engine ps -q | head -n 1)"
renewed() { [ "$(engine service ps work -q | wc -l)" = 3 ] && replicas 2/2; }
soon renewed
ends 0 engine service rm work
gone() { [ -z "$(engine ps -q)" ]; }
soon gone
ends 0 engine swarm leave --force
kill "$(cat /run/docker.pid)"
wait %1
well_done
