cat >"$DIR/config.toml" <<END
version = 2
root = "$DIR/root"
state = "/run/state"
oom_score = 0
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "/run/containerd.sock"
END
containerd -c "$DIR/config.toml" >"$DIR/log" 2>&1 &
engine() { ctr -a /run/containerd.sock "$@"; }
soon engine version
image=docker.io/library/busybox:1
run() { engine run --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" "$@"; }

ends 0 engine image import "$IMAGE"
is hello run --rm $image one echo hello
ends 7 run --rm $image two sh -c 'exit 7'
ends 0 run -d $image web sleep 1000
says 'web +[0-9]+ +RUNNING' engine task ls
is 0 engine task exec --exec-id id web id -u
export -f engine run on_terminal; export RUNTIME
says /dev/pts/0 on_terminal bash -c "'run --rm -t $image three tty'"
ends 0 engine task pause web
says PAUSED engine task ls
ends 0 engine task resume web
says '^[0-9]+' engine task ps web
says 'memory' engine task metrics web
ends 137 run --rm --memory-limit 16000000 $image four sh -c "$eat_memory"
ends 0 engine task kill -s KILL web
stopped() { engine task ls | grep -q STOPPED; }
soon stopped
ends 0 engine task delete web
ends 0 engine container delete web
says 'no-such-program.*not found' run --rm $image five no-such-program
kill %1
wait %1
well_done
