#!/bin/bash
# The runtime on a machine that systemd runs: Debian 12 with its own kernel, in QEMU, without hardware help and disk.
#
#   scripts/test-systemd.sh [DIRECTORY]      of wharf-runtime, build/ if not given
#
# debootstrap makes the root file system once; it is kept in the cache. tests/kernels/systemd.sh has the checks.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-build}
export PATH=$PATH:/usr/sbin:/sbin
die() { printf 'test-systemd: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "making the root file system needs root"
[ "$(uname -m)" = x86_64 ] || die "only for x86-64 so far"
[ -x "$bin/wharf-runtime" ] || die "no wharf-runtime in $bin (make build)"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/wharf
kernel=$(scripts/kernel.sh)
release=${kernel##*linux-image-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ ! -d "$cache/systemd-root" ]; then
    echo "making a root file system with systemd (once, a minute)" >&2
    mkdir -p "$cache"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus bookworm "$work/made" >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log" >&2; die "debootstrap failed"; }
    # What is unpacked twice into memory had better be small.
    rm -rf "$work"/made/{usr/share/{doc,man,locale,info,perl,zoneinfo},var/{cache,lib/apt,lib/dpkg/info},usr/lib/x86_64-linux-gnu/{perl,perl-base,gconv}}
    mv "$work/made" "$cache/systemd-root"
fi
root=$work/root
cp -a "$cache/systemd-root" "$root"
cp "$bin/wharf-runtime" "$root/usr/local/bin/"
install -m 755 tests/kernels/systemd.sh "$root/checks"
mkdir -p "$root/bundle-root"/{bin,proc,dev,sys,etc}
cp -L "$(command -v busybox)" "$root/bundle-root/bin/busybox"
for name in sh sleep cat grep head echo; do ln -s busybox "$root/bundle-root/bin/$name"; done
cat >"$root/etc/systemd/system/checks.service" <<'END'
[Unit]
Description=Checks of wharf-runtime
After=dbus.service
Requires=dbus.service
[Service]
Type=oneshot
ExecStart=/checks
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
[Install]
WantedBy=multi-user.target
END
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../checks.service "$root/etc/systemd/system/multi-user.target.wants/"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-timesyncd.service systemd-logind.service \
    serial-getty@ttyS0.service getty@tty1.service apt-daily.timer; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
# The kernel's first file system is no mount that pivot_root(2) can leave.
cp -L "$(command -v busybox)" "$root/busybox"
cat >"$root/init" <<'END'
#!/busybox sh
/busybox mkdir /real
/busybox mount -t tmpfs -o size=800m tmpfs /real
for name in /*; do
    case $name in /real|/busybox|/init|/proc|/sys|/dev) ;; *) /busybox cp -a "$name" /real/ && /busybox rm -rf "$name" ;; esac
done
/busybox mkdir -p /real/proc /real/sys /real/dev
/busybox mount -t devtmpfs devtmpfs /real/dev
exec /busybox switch_root /real /lib/systemd/systemd
END
chmod 755 "$root/init"
(cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd"

timeout --foreground "${WHARF_KERNEL_TIMEOUT:-600}" qemu-system-x86_64 -M q35 -cpu max -accel tcg -smp 2 -m 2048 -nographic \
    -no-reboot -nic none -kernel "$kernel/boot/vmlinuz-$release" -initrd "$work/initrd" \
    -append "console=ttyS0 panic=-1 quiet systemd.show_status=0 systemd.unified_cgroup_hierarchy=1" </dev/null 2>&1 |
    sed -u 's/\r//g' | tee "$work/console" | grep --line-buffered -E '^(KERNEL|PASS|FAIL) ' || true
grep -q '^ALL PASSED' "$work/console" || {
    cat "$work/console" >&2
    die "not every check passed"
}
