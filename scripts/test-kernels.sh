#!/bin/bash
# The binaries on another kernel: Debian's 6.1, the floor, with nothing but version 2 of control groups.
#
#   scripts/test-kernels.sh [DIRECTORY [CHECK...]]      of wharf and wharf-runtime, build/ if not given
#
# Boots the kernel in QEMU, without hardware help and without a disk: an initrd holds the binaries, busybox, the
# kernel's modules and tests/kernels/init.sh, which runs the checks and says on the console how they went.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-build}
shift || true
die() { printf 'test-kernels: %s\n' "$*" >&2; exit 1; }

[ "$(uname -m)" = x86_64 ] || die "only for x86-64 so far"
[ -x "$bin/wharf" ] && [ -x "$bin/wharf-runtime" ] || die "no wharf and wharf-runtime in $bin (make build)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

kernel=$(scripts/kernel.sh)
release=${kernel##*linux-image-}

applets() { # applets DIRECTORY: busybox's names, but its own
    local name
    busybox --list | while read -r name; do
        [ -e "$1/$name" ] || ln -s busybox "$1/$name"
    done
}

# The guest's root: the kernel loads modules by itself, as on a real machine, so it gets all that may be asked for.
root=$work/root
mkdir -p "$root"/{bin,sbin,etc,proc,sys,dev,run,tmp,var/lib,"lib/modules/$release/kernel"/drivers/net}
cp -L "$(command -v busybox)" "$root/bin/busybox"
applets "$root/bin"
ln -s /bin/busybox "$root/sbin/modprobe"
# The one program that is not linked statically.
cp /sbin/apparmor_parser "$root/sbin/"
ldd /sbin/apparmor_parser | grep -o '/lib[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
cp "$bin/wharf" "$bin/wharf-runtime" "$root/bin/"
cp tests/kernels/init.sh "$root/init"
cc -static -O1 -pthread tests/checkpoint/*.c -o "$root/programs"
printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\n' >"$root/etc/group"
printf '%s\n' "$*" >"$root/etc/checks"
modules=lib/modules/$release
for part in net lib crypto fs/nfs fs/nfsd fs/nfs_common fs/lockd fs/netfs fs/fscache fs/overlayfs fs/quota drivers/block/loop.ko drivers/net/veth.ko drivers/net/tun.ko; do
    mkdir -p "$root/$modules/kernel/$(dirname $part)"
    cp -r "$kernel/$modules/kernel/$part" "$root/$modules/kernel/$part"
done
cp "$kernel/$modules"/modules.* "$root/$modules/"
find "$root/$modules" -name '*.ko.xz' -exec busybox unxz {} +
busybox depmod -b "$root" "$release"

# What the guest makes its image of.
image=$work/image
mkdir -p "$image"/{bin,etc,proc,sys,dev,tmp,www}
cp "$root/bin/busybox" "$image/bin/"
applets "$image/bin"
cp "$root/etc/passwd" "$root/etc/group" "$image/etc/"
printf 'served\n' >"$image/www/index.html"
tar -C "$image" --owner=0 --group=0 -cf "$root/image.tar" .

# What limits on disk are tried on.
truncate -s 64M "$root/limited.ext4"
mkfs.ext4 -q -O quota,project -E quotatype=prjquota "$root/limited.ext4"

(cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd"

# TCG, because /dev/kvm is not everywhere, and where it is need not work.
boot() {
    timeout --foreground "${WHARF_KERNEL_TIMEOUT:-600}" qemu-system-x86_64 -M q35 -cpu max -accel tcg -smp 2 -m 1536 \
        -nographic -no-reboot -nic none -kernel "$kernel/boot/vmlinuz-$release" -initrd "$work/initrd" \
        -append "console=ttyS0 panic=-1 quiet" </dev/null 2>&1 |
        sed -u 's/\r//g' | tee "$work/console" | grep --line-buffered -E '^(KERNEL|PASS|FAIL) ' || true
}

# Each check has its own limit, so a guest that says nothing at the end is an emulator that stopped emulating. That
# has been seen; a check that fails is never tried again.
boot
grep -qE '^(ALL PASSED|SOME FAILED)' "$work/console" || {
    printf 'test-kernels: the emulated machine stands still; once more\n' >&2
    boot
}
grep -q '^ALL PASSED' "$work/console" || {
    cat "$work/console" >&2
    die "not every check passed on $release"
}
