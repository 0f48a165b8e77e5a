# A machine of its own for one test: mount, pid, network, ipc, uts and cgroup namespaces, so that tests do not meet
# each other or the host's firewall, and everything that a test leaves behind can be seen, and dies with it.
#
#   sh bed.sh DIRECTORY COMMAND [ARGUMENT...]
#
# Runs twice: outside it makes a cgroup in every hierarchy and enters the namespaces; inside it mounts what the
# namespaces need and runs the command, as the child of a pid 1 that reaps orphans (this shell).
set -eu
dir=$1
shift

hierarchies() { # "hierarchy|fstype|options|mount point" of each cgroup mount
    awk '{ for (i = 7; i <= NF; i++) if ($i == "-") { type = $(i + 1); options = $(i + 3) }
           if (type == "cgroup2") print "|cgroup2|-|" $5
           else if (type == "cgroup") { sub(/^r[wo],?/, "", options); name = options; sub(/(,|^)xattr/, "", name)
               print name "|cgroup|" name "|" $5 } }' /proc/self/mountinfo
}

own_group() { # own_group HIERARCHY: the path of this process in it
    awk -F: -v want="$1" '$2 == want || (want == "" && $1 == 0) { print $3 }' /proc/self/cgroup
}

outside() {
    hierarchies | while IFS='|' read -r name _ _ at; do
        parent=$at$(own_group "$name")
        group=${parent%/}/bed-$$
        mkdir "$group" || exit 1
        echo "$group" >>"$dir/groups"
        if [ "$name" = cpuset ]; then
            cat "${parent%/}/cpuset.cpus" >"$group/cpuset.cpus"
            cat "${parent%/}/cpuset.mems" >"$group/cpuset.mems"
        fi
        echo $$ >"$group/cgroup.procs"
    done
    hierarchies >"$dir/hierarchies"
    BED_INSIDE=yes exec unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child --mount-proc \
        sh "$dir/bed.sh" "$dir" "$@"
}

inside() {
    unset BED_INSIDE
    # Entered with the mounts of the host in sight: from here on only what this test needs.
    mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
    if grep -q '|cgroup2|-|/sys/fs/cgroup$' "$dir/hierarchies"; then
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        # A group with processes cannot hand controllers to its children: step aside into a leaf.
        mkdir /sys/fs/cgroup/bed
        echo 1 >/sys/fs/cgroup/bed/cgroup.procs
    else
        mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
        while IFS='|' read -r _ type options at; do
            mkdir -p "$at"
            case $type,$options in
                cgroup2,*) mount -t cgroup2 cgroup2 "$at" ;;
                cgroup,name=*) mount -t cgroup -o "none,$options" cgroup "$at" ;;
                *) mount -t cgroup -o "$options" cgroup "$at" ;;
            esac
        done <"$dir/hierarchies"
    fi
    mount -t tmpfs -o mode=755 tmpfs /run
    # Where /var/tmp is an overlay itself, no overlay can be made in it.
    case $(stat -f -c %T "$dir") in
        overlayfs) mkdir -p "$dir/disk" && mount -t tmpfs tmpfs "$dir/disk" ;;
        *) mkdir -p "$dir/disk" ;;
    esac
    busybox ip link set lo up
    status=0
    "$@" || status=$?
    exit $status
}

if [ "${BED_INSIDE:-}" = yes ]; then inside "$@"; else outside "$@"; fi
