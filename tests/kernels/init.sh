#!/bin/sh
# The guest's pid 1 (busybox): mounts what a machine has, with version 2 of control groups alone, runs every function
# here whose name begins with check_, and turns the machine off. See scripts/test-kernels.sh.
#
# A check fails with the first command that fails; then what it ran is printed. After each one nothing may be left.

export PATH=/bin:/sbin HOME=/root
IMAGE=kernels/busybox
CGROUPS=/sys/fs/cgroup/wharf

# --- what the checks share ---

fails_with() { # fails_with CODE COMMAND...
    want=$1
    shift
    got=0
    "$@" || got=$?
    [ $got = "$want" ] || { echo "exit code $got, not $want: $*"; return 1; }
}

until_true() { # until_true COMMAND...: within twenty seconds
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { echo "never true: $*"; return 1; }
        sleep 0.2
    done
}

field() { # field CONTAINER TEMPLATE
    wharf inspect --type container -f "$2" "$1"
}

group_of() { # group_of CONTAINER
    echo "$CGROUPS/$(field "$1" '{{.Id}}')"
}

sleeper() { # sleeper NAME [OPTION...]
    name=$1
    shift
    wharf run -d --name "$name" --network none "$@" $IMAGE sleep 1000
}

# --- checks ---

check_exit_codes() {
    wharf run --rm --network none $IMAGE true
    fails_with 7 wharf run --rm --network none $IMAGE sh -c 'exit 7'
    fails_with 137 wharf run --rm --network none --init $IMAGE sh -c 'kill -9 $$'
    fails_with 127 wharf run --rm --network none $IMAGE no-such-command
}

check_only_version_two_is_there() {
    [ "$(wharf info -f '{{.CgroupVersion}}')" = 2 ]
    # Born in its cgroup, and sees itself as its root.
    [ "$(wharf run --rm --network none $IMAGE cat /proc/self/cgroup)" = 0::/ ]
}

check_apparmor() {
    loaded() { grep -c "^$1 " /sys/kernel/security/apparmor/profiles; }
    [ "$(cat /sys/module/apparmor/parameters/enabled)" = Y ]
    own=$(wharf run --rm --network none $IMAGE cat /proc/self/attr/current)
    [ "$own" = "wharf-default (enforce)" ]
    [ "$(loaded wharf-default)" = 1 ]
    # What the profile denies although the user could: with every capability, and without the mounts that hide it.
    fails_with 255 wharf run --rm --network none --cap-add ALL --security-opt seccomp=unconfined $IMAGE \
        mount -t tmpfs none /tmp
    wharf run --rm --network none --cap-add ALL --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
        $IMAGE mount -t tmpfs none /tmp
    # Nobody is under it who need not be.
    [ "$(wharf run --rm --network none --privileged $IMAGE cat /proc/self/attr/current)" = unconfined ]
    [ "$(wharf run --rm --network none --security-opt apparmor=unconfined $IMAGE cat /proc/self/attr/current)" = unconfined ]
    wharf info 2>&1 | grep -q 'name=apparmor'

    # One of the user's own, for init, what exec adds, and what is restored.
    fails_with 125 wharf run --rm --network none --security-opt apparmor=mine $IMAGE true
    printf 'profile mine flags=(attach_disconnected) {\n file,\n signal,\n ptrace,\n network,\n deny /www/** r,\n}\n' |
        apparmor_parser --replace --skip-cache
    sleeper confined --security-opt apparmor=mine
    [ "$(field confined '{{.AppArmorProfile}}')" = mine ]
    [ "$(wharf exec confined cat /proc/1/attr/current)" = "mine (enforce)" ]
    fails_with 1 wharf exec confined cat /www/index.html
    [ "$(wharf exec --privileged confined cat /proc/self/attr/current)" = unconfined ]
    [ "$(wharf exec --privileged confined cat /www/index.html)" = served ]
    wharf checkpoint confined kept
    wharf restore kept --name again
    [ "$(wharf exec again cat /proc/1/attr/current)" = "mine (enforce)" ]
    fails_with 1 wharf exec again cat /www/index.html
    wharf rm -f confined again
    wharf checkpoint rm kept
}

check_the_group_is_read_only_inside() {
    wharf run --rm --network none $IMAGE sh -c 'test -e /sys/fs/cgroup/cgroup.procs && ! mkdir /sys/fs/cgroup/x'
}

check_limits_are_written() {
    sleeper limits -m 64m --memory-swap 96m --memory-reservation 32m --pids-limit 50 --cpus 0.5 -c 512 --cpuset-cpus 1
    group=$(group_of limits)
    [ "$(cat "$group/memory.max")" = 67108864 ]
    [ "$(cat "$group/memory.low")" = 33554432 ]
    # A kernel may be built or booted without swap accounting.
    [ ! -e "$group/memory.swap.max" ] || [ "$(cat "$group/memory.swap.max")" = 33554432 ]
    [ "$(cat "$group/pids.max")" = 50 ]
    [ "$(cat "$group/cpu.max")" = '50000 100000' ]
    [ "$(cat "$group/cpu.weight")" = 59 ]
    [ "$(cat "$group/cpuset.cpus")" = 1 ]
    [ "$(wharf exec limits nproc)" = 1 ]
    [ "$(wharf exec limits cat /sys/fs/cgroup/memory.max)" = 67108864 ]
}

check_lack_of_memory_is_told() {
    fails_with 137 wharf run --name oom --network none -m 16m --memory-swap 16m $IMAGE \
        sh -c 'exec tail /dev/zero'
    [ "$(field oom '{{.State.OOMKilled}} {{.State.ExitCode}}')" = 'true 137' ]
    fails_with 137 wharf run --name killed --network none --init -m 16m $IMAGE sh -c 'kill -9 $$'
    [ "$(field killed '{{.State.OOMKilled}}')" = false ]
}

check_processes_are_bounded() {
    sleeper bomb --pids-limit 20
    wharf exec bomb sh -c 'i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i + 1)); done' || true
    [ "$(cat "$(group_of bomb)/pids.current")" -le 20 ]
    grep -q '^max [1-9]' "$(group_of bomb)/pids.events"
}

check_devices_are_filtered() {
    wharf run --rm --network none $IMAGE sh -c 'echo x >/dev/null && head -c 4 /dev/urandom >/dev/null && : </dev/zero'
    # A node may be made, and must not open: 4:64 is the console, 7:0 a loop device.
    wharf run --rm --network none $IMAGE sh -c \
        'mknod /tmp/c c 4 64 && mknod /tmp/b b 7 0 || exit 1
         for node in /tmp/c /tmp/b; do
             head -c 0 $node 2>/tmp/said && exit 2
             grep -q "Operation not permitted" /tmp/said || { cat /tmp/said; exit 3; }
         done'
    wharf run --rm --network none --device /dev/ttyS0 $IMAGE sh -c ': </dev/ttyS0 && : >/dev/ttyS0'
    wharf run --rm --network none --device /dev/ttyS0:/dev/serial:r $IMAGE sh -c \
        ': </dev/serial && ! sh -c ": >/dev/serial"'
}

check_privileged() {
    wharf run --rm --network none --privileged $IMAGE sh -c \
        'head -n 1 /dev/kmsg && mount -t tmpfs none /tmp && mkdir /sys/fs/cgroup/below && rmdir /sys/fs/cgroup/below'
}

check_init() {
    wharf run --rm --network none --init $IMAGE sh -c '[ $$ != 1 ]'
    fails_with 9 wharf run --rm --network none --init $IMAGE sh -c 'exit 9'
}

check_exec_is_in_the_group() {
    sleeper target -m 64m
    wharf exec -d target sleep 2000
    group=$(group_of target)
    until_true sh -c "[ \$(wc -l <'$group/cgroup.procs') = 2 ]"
    [ "$(wharf exec target cat /proc/self/cgroup)" = 0::/ ]
    fails_with 5 wharf exec target sh -c 'exit 5'
    # The filter of devices holds for it, too.
    fails_with 1 wharf exec target sh -c 'mknod /tmp/c c 4 64 && head -c 0 /tmp/c'
}

check_stop_and_kill() {
    wharf run -d --name polite --network none $IMAGE sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done'
    wharf stop -t 20 polite
    [ "$(field polite '{{.State.ExitCode}}')" = 3 ]
    sleeper deaf
    wharf stop -t 0 deaf
    [ "$(field deaf '{{.State.ExitCode}}')" = 137 ]
    sleeper shot
    wharf kill shot
    [ "$(wharf wait shot)" = 137 ]
    wharf start shot
    [ "$(field shot '{{.State.Status}}')" = running ]
}

check_children_die_with_it() {
    wharf run --name parent --network none $IMAGE sh -c 'setsid sleep 3000 & sleep 0.2'
    ! grep -s 3000 /proc/[0-9]*/cmdline
}

check_commit_of_one_that_runs() {
    wharf run -d --name writer --network none $IMAGE sh -c 'echo kept >/kept; i=0; while :; do i=$((i + 1)); echo $i >/count; done'
    until_true wharf exec writer test -e /count
    wharf commit writer kernels/committed
    grep -q '^frozen 0' "$(group_of writer)/cgroup.events"
    [ "$(wharf run --rm --network none kernels/committed cat /kept)" = kept ]
    # A frozen one does not resist its removal.
    echo 1 >"$(group_of writer)/cgroup.freeze"
    wharf rm -f writer
    wharf rmi kernels/committed
}

check_changes_are_told() {
    wharf run --name changed --network none $IMAGE sh -c 'echo a >/new; rm /www/index.html'
    wharf diff changed | grep -q '^A /new$'
    wharf diff changed | grep -q '^D /www/index.html$'
}

check_repair_after_a_dead_monitor() {
    sleeper orphan
    group=$(group_of orphan)
    monitor=$(awk '/^PPid:/ { print $2 }' "/proc/$(field orphan '{{.State.Pid}}')/status")
    [ "$monitor" -gt 1 ]
    kill -9 "$monitor"
    wharf system repair
    [ "$(field orphan '{{.State.Running}}')" = false ]
    until_true test ! -d "$group"
    wharf start orphan
    [ "$(wharf exec orphan echo back)" = back ]
}

check_detached_and_logs() {
    wharf run -d --name talker --network none $IMAGE sh -c 'echo one; echo two >&2; sleep 1000'
    until_true sh -c 'wharf logs talker 2>&1 | grep -q two'
    [ "$(wharf logs talker 2>/dev/null)" = one ]
    wharf rm -f talker
    fails_with 1 wharf inspect talker
}

check_terminal_and_input() {
    [ "$(echo hello | wharf run --rm -i --network none $IMAGE cat)" = hello ]
    wharf run --rm -t --network none $IMAGE sh -c 'test -t 1'
}

check_mounts() {
    mkdir -p /tmp/shared
    echo host >/tmp/shared/file
    wharf run --rm --network none -v /tmp/shared:/s:ro --tmpfs /t --read-only $IMAGE sh -c \
        'grep -q host /s/file && ! touch /s/x && touch /t/x && ! touch /x'
    wharf run --rm --network none -v /tmp/shared:/s $IMAGE touch /s/made
    test -e /tmp/shared/made
    rm -r /tmp/shared
}

# A server of the kernel's own, told by hand what its daemons would tell it: who may have what.
nfs_server() { # nfs_server DIRECTORY
    modprobe nfsd
    mkdir -p /var/lib/nfs/v4recovery
    mount -t nfsd nfsd /proc/fs/nfsd
    echo "-3 +4 +4.1 +4.2" >/proc/fs/nfsd/versions
    echo "nfsd 127.0.0.1 2147483647 here" >/proc/net/rpc/auth.unix.ip/channel
    # As /: any port, no check of subtrees, asynchronous, with a number (0).
    echo "here $1 2147483647 $((0x2 | 0x400 | 0x10 | 0x2000)) 65534 65534 0" >/proc/net/rpc/nfsd.export/channel
    printf 'here 1 \\x00000000 2147483647 %s\n' "$1" >/proc/net/rpc/nfsd.fh/channel
    echo "tcp 2049" >/proc/fs/nfsd/portlist
    echo 2 >/proc/fs/nfsd/threads
    # Nobody was there before.
    echo Y >/proc/fs/nfsd/v4_end_grace
}

check_nfs_volume() {
    mkdir -p /tmp/exported
    echo from there >/tmp/exported/file
    nfs_server /tmp/exported
    wharf volume create -d local -o type=nfs -o o=addr=127.0.0.1,vers=4.2 -o device=:/ shared
    # Over the host's network: the container has none.
    wharf run --rm --network none -v shared:/data $IMAGE sh -c \
        'grep -q "^[^ ]* /data nfs4 " /proc/mounts && grep -q there /data/file && echo written >/data/more'
    [ "$(cat /tmp/exported/more)" = written ]
    # Two at a time see each other, also read-only.
    sleeper one -v shared:/data
    sleeper two -v shared:/data:ro
    wharf exec one sh -c 'echo now >/data/live'
    [ "$(wharf exec two cat /data/live)" = now ]
    fails_with 1 wharf exec two touch /data/x
    wharf rm -f one two
    # A server that is not there is said.
    wharf volume create -o type=nfs -o o=addr=127.0.0.1,vers=4.2,port=2050,timeo=1,retrans=0,soft -o device=:/ gone
    fails_with 125 wharf run --rm --network none -v gone:/data $IMAGE true 2>/tmp/why
    grep -q 'mount /data' /tmp/why
    wharf volume rm shared gone
    echo 0 >/proc/fs/nfsd/threads
    umount /proc/fs/nfsd
    rm -r /var/lib/nfs
    rm -r /tmp/exported /tmp/why
}

# Of volumes and of what containers write, by the project quota of ext4.
check_limits_on_disk() {
    modprobe loop
    mkdir -p /tmp/limited
    mount -t ext4 -o loop,prjquota /limited.ext4 /tmp/limited
    on_it() { wharf --root /tmp/limited/root --runroot /run/limited "$@"; }
    fill() { # fill FILE MEGABYTES OPTION...
        file=$1 count=$2
        shift 2
        on_it run --name one --network none "$@" $IMAGE dd if=/dev/zero of="$file" bs=1M count="$count"
    }
    on_it import /image.tar $IMAGE
    on_it volume create -o size=4m few
    fill /data/f 3 -v few:/data
    on_it rm one
    fails_with 1 fill /data/g 3 -v few:/data
    on_it rm one
    # The limit is of that directory alone, and goes with it.
    fill /f 6 -v few:/data
    on_it rm one
    on_it volume rm few
    fails_with 1 fill /f 6 --storage-opt size=4m
    on_it rm one
    fill /f 3 --storage-opt size=4m
    on_it rm one
    on_it system reset -f
    umount /tmp/limited
}

check_many_layers() {
    # Before Linux 6.13 the names of all layers together have to fit into 255 bytes.
    last=$IMAGE
    for layer in $(seq 30); do
        wharf run --name at --network none $last sh -c "echo $layer >/www/layer$layer"
        wharf commit at "kernels/layered:$layer"
        wharf rm at
        last=kernels/layered:$layer
    done
    wharf run --rm --network none $last sh -c 'test -e /www/layer1 && test -e /www/layer30 && test -e /www/index.html'
    # The content of a new volume is that of all layers.
    wharf run --rm --network none -v /www $last sh -c \
        'test -e /www/layer1 && test -e /www/layer30 && grep " /www " /proc/self/mountinfo'
    for layer in $(seq 30); do wharf rmi "kernels/layered:$layer"; done
}

check_network() {
    wharf run -d --name web -p 8080:80 $IMAGE httpd -f -p 80 -h /www
    until_true wget -q -O /dev/null http://127.0.0.1:8080/
    [ "$(wget -q -O - http://127.0.0.1:8080/)" = served ]
    address=$(field web '{{.NetworkSettings.IPAddress}}')
    [ "$(wget -q -O - "http://$address/")" = served ]
    # From another container, straight and by the host's port.
    [ "$(wharf run --rm $IMAGE timeout 10 wget -q -O - "http://$address/")" = served ]
    gateway=$(field web '{{.NetworkSettings.Gateway}}')
    [ "$(wharf run --rm $IMAGE timeout 10 wget -q -O - "http://$gateway:8080/")" = served ]
    [ "$(wharf run --rm --network container:web $IMAGE wget -q -O - http://127.0.0.1/)" = served ]
    [ "$(wharf run --rm --network host $IMAGE wget -q -O - http://127.0.0.1:8080/)" = served ]
    wharf rm -f web
    ! timeout 3 wget -q -O /dev/null http://127.0.0.1:8080/
}

check_many_at_once() {
    for one in 1 2 3 4 5 6 7 8; do
        wharf run --rm $IMAGE true &
        started="${started:-} $!"
    done
    for one in $started; do wait "$one"; done
}

jump() { # jump SECONDS: the clock of the machine, forward or back
    date -s "@$(($(date +%s) + $1))" >/dev/null
}

check_the_clock_jumps() {
    up() { cut -d. -f1 /proc/uptime; }
    offset=$(($(date +%s) - $(up)))
    # Ends at once: it is started again after 0.1, 0.2, 0.4 ... seconds.
    wharf run -d --name again --network none --restart on-failure $IMAGE sh -c 'exit 1'
    wharf run -d --name well --network none --health-cmd 'echo x >>/checks' --health-interval 1s --health-retries 1 \
        $IMAGE sh -c 'while :; do echo line; sleep 1; done'
    wharf logs -f well >/tmp/followed &
    follower=$!
    lines() { wc -l </tmp/followed; }
    checks() { wharf exec well sh -c 'wc -l </checks'; }
    starts() { field again '{{.RestartCount}}'; }
    all_go_on() {
        have_lines=$(lines) have_checks=$(checks)
        until_true sh -c "[ \$(wc -l </tmp/followed) -gt $have_lines ]"
        until_true sh -c "[ \$(wharf exec well sh -c 'wc -l </checks') -gt $have_checks ]"
        [ "$(field well '{{.State.Health.Status}} {{.State.Status}}')" = "healthy running" ]
        wharf ps -a | grep -q again
    }
    until_true sh -c '[ "$(wharf inspect -f "{{.State.Health.Status}}" well)" = healthy ]'
    all_go_on
    # Eight starts: now it waits for more than ten seconds.
    tries=0
    until [ "$(starts)" -ge 7 ]; do
        tries=$((tries + 1))
        [ $tries -lt 200 ]
        sleep 0.2
    done
    before=$(starts)
    jump 3600
    sleep 2
    [ "$(starts)" = "$before" ]
    [ "$(field again '{{.State.Status}}')" = restarting ]
    all_go_on
    # What was written before the jump is an hour old.
    all=$(wharf logs well | wc -l)
    since=$(wharf logs --since 30m well | wc -l)
    [ "$since" -gt 0 ]
    [ "$since" -lt "$all" ]
    # Two hours back: nobody waits until it is as late again.
    jump -7200
    all_go_on
    until_true sh -c "[ \$(wharf inspect -f '{{.RestartCount}}' again) -gt $before ]"
    [ "$(wharf logs --since 10m well | wc -l)" -ge "$since" ]
    wharf stop -t 1 well
    wait $follower
    wharf rm -f again
    [ "$(field well '{{.State.ExitCode}}')" = 137 ]
    date -s "@$((offset + $(up)))" >/dev/null
}

check_pause_update_and_stats() {
    sleeper live -m 64m
    group=$(group_of live)
    wharf pause live
    grep -q '^frozen 1' "$group/cgroup.events"
    [ "$(field live '{{.State.Status}}')" = paused ]
    wharf unpause live
    grep -q '^frozen 0' "$group/cgroup.events"
    wharf update -m 48m --memory-swap 48m --pids-limit 33 live
    [ "$(cat "$group/memory.max")" = 50331648 ]
    [ "$(cat "$group/pids.max")" = 33 ]
    wharf stats --no-stream --format '{{.MemUsage}}' live | grep -q '/ 48MiB'
    wharf restart -t 0 live
    [ "$(cat "$(group_of live)/memory.max")" = 50331648 ]
}

# --- the OCI runtime alone ---

bundle() { # bundle DIRECTORY JSON-RESOURCES COMMAND [JSON-OF-LINUX [JSON-NAMESPACES]]: a bundle that runs a shell command
    mkdir -p "$1/rootfs"
    tar -C "$1/rootfs" -xf /image.tar
    mkdir -p "$1/rootfs/proc" "$1/rootfs/dev" "$1/rootfs/sys"
    cat >"$1/config.json" <<END
{"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/",
 "args": ["sh", "-c", "$3"], "env": ["PATH=/bin"], "capabilities": {"bounding": ["CAP_MKNOD"], "effective": ["CAP_MKNOD"], "permitted": ["CAP_MKNOD"]}},
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
  {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
  {"destination": "/sys", "type": "sysfs", "source": "sysfs"},
  {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}],
 "linux": {${4:-"\"cgroupsPath\": \"/wharf/oci\","} "resources": $2,
  "namespaces": [${5:-}{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}, {"type": "cgroup"}]}}
END
}

oci() { wharf-runtime --root /run/oci "$@"; }

start_oci() { # start_oci JSON-RESOURCES COMMAND
    bundle /tmp/bundle "$1" "$2"
    oci create --bundle /tmp/bundle one </dev/null >/tmp/oci.out 2>&1
    oci start one
}

end_oci() {
    oci delete --force one
    rm -rf /tmp/bundle
    test ! -d $CGROUPS/oci
}

check_oci_life() {
    start_oci '{}' 'sleep 1000'
    [ "$(oci exec one cat /proc/self/cgroup)" = 0::/ ]
    oci exec one test -e /sys/fs/cgroup/cgroup.procs
    fails_with 6 oci exec one sh -c 'exit 6'
    oci pause one
    grep -q '^frozen 1' $CGROUPS/oci/cgroup.events
    oci state one | grep -q paused
    oci resume one
    oci ps one | grep -q 'sleep 1000'
    oci kill one KILL
    until_true sh -c 'wharf-runtime --root /run/oci state one | grep -q stopped'
    end_oci
}

check_oci_limits_change() {
    start_oci '{"memory": {"limit": 67108864}, "cpu": {"shares": 512, "quota": 50000, "period": 100000}, "unified": {"memory.high": "50331648"}}' 'sleep 1000'
    [ "$(cat $CGROUPS/oci/memory.max)" = 67108864 ]
    [ "$(cat $CGROUPS/oci/memory.high)" = 50331648 ]
    [ "$(cat $CGROUPS/oci/cpu.max)" = '50000 100000' ]
    oci update --memory 33554432 --pids-limit 17 --cpu-quota 20000 one
    [ "$(cat $CGROUPS/oci/memory.max)" = 33554432 ]
    [ "$(cat $CGROUPS/oci/pids.max)" = 17 ]
    [ "$(cat $CGROUPS/oci/cpu.max)" = '20000 100000' ]
    # Below what is in use the kernel would kill it: asked to look first, we refuse.
    echo '{"memory": {"limit": 4096, "checkBeforeUpdate": true}}' >/tmp/resources
    fails_with 1 oci update --resources /tmp/resources one
    [ "$(cat $CGROUPS/oci/memory.max)" = 33554432 ]
    oci events --stats one >/tmp/stats
    grep -q '"limit": *17' /tmp/stats
    grep -q '"limit": *33554432' /tmp/stats
    end_oci
}

check_oci_processor_time_is_bounded() {
    start_oci '{"cpu": {"quota": 10000, "period": 100000}}' 'while :; do :; done'
    until_true grep -q '^nr_throttled [1-9]' $CGROUPS/oci/cpu.stat
    end_oci
}

check_oci_memory_runs_out() {
    start_oci '{"memory": {"limit": 16777216, "swap": 16777216}}' 'while [ ! -e /go ]; do sleep 0.1; done; exec tail /dev/zero'
    oci events --interval 1s one >/tmp/events &
    until_true grep -q stats /tmp/events
    touch /tmp/bundle/rootfs/go
    until_true grep -q '"oom"' /tmp/events
    until_true sh -c 'wharf-runtime --root /run/oci state one | grep -q stopped'
    end_oci
    wait
}

check_oci_devices_change() {
    start_oci '{"devices": [{"allow": false, "access": "rwm"}]}' 'sleep 1000'
    fails_with 1 oci exec one sh -c 'mknod /dev/c c 4 64 && head -c 0 /dev/c'
    oci exec one sh -c 'echo x >/dev/null'
    # What joins later is under the new rules, and so is what is there.
    printf '{"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 4, "minor": 64, "access": "rwm"}]}' >/tmp/rules
    oci update --resources /tmp/rules one
    oci exec one head -c 0 /dev/c
    end_oci
}

check_oci_kill_reaches_all() {
    start_oci '{}' 'sleep 4000 & sleep 4000 & wait'
    until_true sh -c "[ \$(wc -l <$CGROUPS/oci/cgroup.procs) = 3 ]"
    oci kill --all one KILL
    until_true sh -c "! grep -q . $CGROUPS/oci/cgroup.procs"
    end_oci
}

check_oci_without_rights() {
    # A user to whom a group was handed over.
    mkdir -p /sys/fs/cgroup/user/shell
    for controller in memory pids; do echo +$controller >/sys/fs/cgroup/cgroup.subtree_control || true; done
    for controller in memory pids; do echo +$controller >/sys/fs/cgroup/user/cgroup.subtree_control; done
    chown -R 1000:1000 /sys/fs/cgroup/user
    ids='[{"containerID": 0, "hostID": 1000, "size": 1}]'
    bundle /tmp/mine '{"pids": {"limit": 12}}' 'cat /sys/fs/cgroup/pids.max; id -u' \
        "\"uidMappings\": $ids, \"gidMappings\": $ids," '{"type": "user"}, '
    chown -R 1000:1000 /tmp/mine
    sh -c 'echo 0 >/sys/fs/cgroup/user/shell/cgroup.procs
        exec su -s /bin/sh user -c "wharf-runtime --root /tmp/mine/run run --bundle /tmp/mine mine"' >/tmp/said.mine
    [ "$(cat /tmp/said.mine)" = "12
0" ]
    rm -rf /tmp/mine
    find /sys/fs/cgroup/user -depth -type d -exec rmdir {} +
}

check_oci_exec_where_controllers_are_handed_down() {
    start_oci '{}' 'sleep 1000'
    # As an init system in it does: its processes into groups below, then it divides what it has.
    mkdir $CGROUPS/oci/init
    while read -r pid; do echo "$pid" >$CGROUPS/oci/init/cgroup.procs; done <$CGROUPS/oci/cgroup.procs
    echo +pids >$CGROUPS/oci/cgroup.subtree_control
    [ "$(oci exec one sh -c 'tail -n 1 /proc/self/cgroup')" = 0::/init ]
    end_oci
}

check_oci_checkpoint() {
    start_oci '{}' 'i=0; while :; do i=$((i + 1)); echo $i >/count; sleep 0.1; done'
    until_true sh -c '[ "$(cat /tmp/bundle/rootfs/count)" -gt 3 ]'
    oci checkpoint --image-path /tmp/image one
    before=$(cat /tmp/bundle/rootfs/count)
    oci delete --force one
    oci restore --detach --bundle /tmp/bundle --image-path /tmp/image one </dev/null >/tmp/oci.out 2>&1
    until_true sh -c "[ \"\$(cat /tmp/bundle/rootfs/count)\" -gt $((before + 2)) ]"
    end_oci
    rm -rf /tmp/image
}

# Goes through a checkpoint and says itself what it thinks of it: tests/checkpoint has the programs.
survives() { # survives PROGRAM
    bundle /tmp/bundle '{}' -
    cp /programs /tmp/bundle/rootfs/bin/
    mkdir -m 777 /tmp/bundle/rootfs/data
    sed -i 's|"args": .*, "env"|"args": ["/bin/programs", "'"$1"'"], "env"|
        s|{"destination": "/sys",|{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}, {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}, &|
        s|"CAP_MKNOD"|"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"|g' /tmp/bundle/config.json
    oci run --detach --bundle /tmp/bundle one </dev/null >/tmp/oci.out 2>&1
    until_true test -e /tmp/bundle/rootfs/data/ready || { echo "$1 says: $(cat /tmp/bundle/rootfs/data/verdict /tmp/oci.out)"; return 1; }
    oci checkpoint --image-path /tmp/image one
    oci delete --force one
    oci restore --detach --bundle /tmp/bundle --image-path /tmp/image one </dev/null >/tmp/oci.out 2>&1
    touch /tmp/bundle/rootfs/data/go
    until_true test -e /tmp/bundle/rootfs/data/verdict
    [ "$(cat /tmp/bundle/rootfs/data/verdict)" = ok ]
    end_oci
    rm -rf /tmp/image
}

check_oci_checkpoint_of_processes() {
    for program in dontneed memory threads tree shared pipes signals waiting registers; do survives $program; done
}

check_oci_checkpoint_of_descriptors() {
    for program in events files unix_streams network memory_files terminals watching semaphores unattached; do survives $program; done
}

# --- what one leaves behind ---

nothing_left() {
    wharf ps -aq | xargs -r wharf rm -f >/dev/null
    oci list -q | xargs -r -n 1 wharf-runtime --root /run/oci delete --force
    until_true sh -c "! ls -d $CGROUPS/*/"
    until_true sh -c '! grep -E " /(run|var/lib)/wharf/" /proc/self/mountinfo'
    until_true sh -c '! ip -o link | grep -E ": veth|@"'
    until_true sh -c '! grep -s ^wharf /proc/[0-9]*/comm'
}

# --- the machine ---

prepare() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    mkdir -p /dev/pts /dev/shm
    mount -t devpts devpts /dev/pts
    mount -t tmpfs tmpfs /dev/shm
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /tmp
    mount -t tmpfs -o size=768m tmpfs /var/lib
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount -t securityfs securityfs /sys/kernel/security
    ip link set lo up
}

# $1 is what there is to do: nothing when the kernel starts this as pid 1.
case ${1:-boot} in
    boot)
        # The kernel's first file system is no mount that pivot_root(2) can leave.
        mkdir /real
        mount -t tmpfs -o size=512m tmpfs /real
        for name in bin sbin etc lib lib64 init image.tar limited.ext4 programs; do cp -a "/$name" /real/; done
        mkdir -p /real/proc /real/sys /real/dev /real/run /real/tmp /real/var/lib /real/root
        exec switch_root /real /init machine
        ;;
    machine)
        prepare
        echo "KERNEL $(uname -r), control groups: $(cat /sys/fs/cgroup/cgroup.controllers)"
        failed=0
        wharf import /image.tar $IMAGE >/dev/null 2>/tmp/said || { failed=1; cat /tmp/said; }
        checks=$(cat /etc/checks)
        [ -n "$checks" ] || checks=$(sed -n 's/^\(check_[a-z_]*\)() {$/\1/p' /init)
        for check in $checks; do
            if timeout 180 sh /init one "$check" >/tmp/said 2>&1 && timeout 120 sh /init one nothing_left >>/tmp/said 2>&1; then
                echo "PASS $check"
            else
                failed=1
                echo "FAIL $check"
                tail -n 60 /tmp/said
            fi
        done
        if [ $failed = 0 ]; then echo "ALL PASSED"; else echo "SOME FAILED"; fi
        sync
        poweroff -f
        ;;
    one)
        set -eux
        "$2"
        ;;
esac
