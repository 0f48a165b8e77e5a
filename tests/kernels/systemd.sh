#!/bin/sh
# On a machine whose first process is systemd: containers whose groups systemd makes. See scripts/test-systemd.sh.
# A unit runs this with the console as its output.

oci() { wharf-runtime --root /run/oci --systemd-cgroup "$@"; }

until_true() { # until_true COMMAND...: within thirty seconds
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 150 ] || { echo "never true: $*"; return 1; }
        sleep 0.2
    done
}

property() { systemctl show -P "$1" "$2"; } # property NAME UNIT

bundle() { # bundle JSON-RESOURCES [JSON-OF-LINUX]: one that sleeps
    mkdir -p /tmp/bundle
    ln -sfn /bundle-root /tmp/bundle/rootfs
    cat >/tmp/bundle/config.json <<END
{"ociVersion": "1.3.0", "root": {"path": "rootfs", "readonly": true}, "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/",
 "args": ["sleep", "1000"], "env": ["PATH=/bin"]},
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
 "linux": {${2:-} "resources": $1,
  "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}]}}
END
}

start() { # start ID
    oci create --bundle /tmp/bundle "$1" </dev/null >/tmp/oci.out 2>&1 || { cat /tmp/oci.out; return 1; }
    oci start "$1"
}

check_a_scope_of_its_own() {
    bundle '{"memory": {"limit": 67108864}, "pids": {"limit": 30}, "cpu": {"shares": 512}}' '"cgroupsPath": "system.slice:wharf:one",'
    start one
    group=/sys/fs/cgroup/system.slice/wharf-one.scope
    [ "$(property ActiveState wharf-one.scope)" = active ]
    [ "$(property Delegate wharf-one.scope)" = yes ]
    [ "$(property MemoryMax wharf-one.scope)" = 67108864 ]
    [ "$(property TasksMax wharf-one.scope)" = 30 ]
    [ "$(cat $group/memory.max)" = 67108864 ]
    [ "$(cat $group/pids.max)" = 30 ]
    oci exec one grep -q 0::/system.slice/wharf-one.scope /proc/self/cgroup
    oci update --memory 33554432 --pids-limit 20 one
    [ "$(cat $group/memory.max)" = 33554432 ]
    [ "$(property MemoryMax wharf-one.scope)" = 33554432 ]
    oci pause one
    oci state one | grep -q paused
    oci resume one
    # What systemd reads anew changes neither limits nor devices (it did, for other runtimes).
    systemctl daemon-reload
    [ "$(cat $group/memory.max)" = 33554432 ]
    oci exec one sh -c 'echo x >/dev/null && head -c 1 /dev/urandom >/dev/null'
    oci kill one KILL
    oci delete --force one
    until_true test ! -d $group
    until_true sh -c '[ "$(systemctl show -P LoadState wharf-one.scope)" = not-found ] || [ "$(systemctl show -P ActiveState wharf-one.scope)" = inactive ]'
}

check_a_place_when_none_is_named() {
    bundle '{}'
    start two
    oci exec two grep -q '0::/.*two.*\.scope' /proc/self/cgroup
    oci delete --force two
    until_true sh -c '! find /sys/fs/cgroup -name "*two*.scope" | grep -q .'
}

check_paths_are_refused_by_name() {
    bundle '{}' '"cgroupsPath": "/a/path",'
    ! start three >/tmp/said
    grep -q cgroupsPath /tmp/said
    oci list -q | grep -q . && return 1
    return 0
}

check_it_ends_with_systemd() {
    bundle '{}' '"cgroupsPath": "system.slice:wharf:four",'
    start four
    systemctl stop wharf-four.scope
    until_true sh -c 'wharf-runtime --root /run/oci state four | grep -q stopped'
    oci delete four
}

if [ "${1:-}" ]; then
    set -eux
    "$1"
    exit
fi
echo "KERNEL $(uname -r), $(systemctl --version | head -n 1)"
verdict="ALL PASSED"
for check in $(sed -n 's/^\(check_[a-z_]*\)() {$/\1/p' "$0"); do
    if timeout 120 sh "$0" "$check" >/tmp/said.check 2>&1; then
        echo "PASS $check"
    else
        verdict="SOME FAILED"
        echo "FAIL $check"
        tail -n 40 /tmp/said.check
        for id in $(oci list -q); do oci delete --force "$id"; done
    fi
done
echo "$verdict"
sync
systemctl poweroff --force --force
