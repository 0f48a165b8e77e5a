"""A Redis in a bundle, taken through checkpoint and restore while a client keeps asking it: what that client sees.

    bench-memory.py RUNTIME WHARF DIRECTORY [MB...]

For each size: `--leave-running` (idle, then with a client that writes), a checkpoint that ends it, a restore; then one of
the engine's, suspended and resumed, up to its first answer and until all of its memory is there; medians."""
import ctypes
import json
import os
import io
import socket
import statistics
import subprocess
import sys
import tarfile
import threading
import time

CLONE_NEWNET = 0x40000000
ROUNDS = 5
# One value is about one kilobyte of Redis' memory.
VALUE = b"v" * 900


class Redis:
    """A connection from outside: made inside the network namespace of `pid`, else it could not be checkpointed."""

    def __init__(self, pid, path):
        if pid:
            namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            assert ctypes.CDLL(None).setns(namespace, CLONE_NEWNET) == 0, "setns"
            os.close(namespace)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(parts))
        line = self.file.readline()
        if line[:1] == b"$":
            return self.file.read(int(line[1:]) + 2)[:-2]
        assert line[:1] in b"+:", line
        return line[1:-2]


class Container:
    def __init__(self, runtime, directory):
        self.runtime, self.bundle = runtime, directory
        root = f"{directory}/rootfs"
        for name in ("proc", "dev", "usr", "etc", "tmp", "data"):
            os.makedirs(f"{root}/{name}")
        for name in ("bin", "lib", "lib64"):
            os.symlink(f"usr/{name}", f"{root}/{name}")
        mount = lambda place, kind, source, *options: {
            "destination": place, "type": kind, "source": source, "options": list(options)}
        server = ["/usr/bin/redis-server", "--port", "0", "--unixsocket", "/data/socket", "--save", "", "--dir", "/data",
                  "--enable-debug-command", "yes"]
        with open(f"{directory}/config.json", "w") as file:
            json.dump({
                "ociVersion": "1.0.2",
                "process": {"user": {"uid": 0, "gid": 0}, "args": server, "env": ["PATH=/usr/bin"], "cwd": "/"},
                "root": {"path": "rootfs"},
                "mounts": [mount("/proc", "proc", "proc"), mount("/dev", "tmpfs", "tmpfs", "mode=755"),
                           mount("/usr", "bind", "/usr", "rbind", "ro"), mount("/etc", "bind", "/etc", "rbind", "ro"),
                           mount("/tmp", "tmpfs", "tmpfs", "mode=1777")],
                "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
            }, file)

    def call(self, verb, *options, answer=False):
        """Milliseconds, or what it says."""
        command = [self.runtime, "--root", f"{self.bundle}/state", verb, *options, "redis"]
        with open("/dev/null", "r+b") as null:
            if answer:
                return subprocess.run(command, stdin=null, capture_output=True, check=True).stdout
            start = time.monotonic()
            subprocess.run(command, stdin=null, stdout=null, check=True)
            return (time.monotonic() - start) * 1e3

    def pid(self):
        return json.loads(self.call("state", answer=True))["pid"]

    def connect(self):
        end = time.monotonic() + 30
        while True:
            try:
                return Redis(self.pid(), f"{self.bundle}/rootfs/data/socket")
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.0005)

    def memory(self):
        """Bytes that are neither shared nor a file's."""
        with open(f"/proc/{self.pid()}/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))


def busy(redis, keys, writes, stop, gaps):
    last, key = time.monotonic(), 0
    while not stop.is_set():
        if writes:
            key = (key + 7919) % keys
            redis.ask("SET", f"k:{key}", VALUE)
        else:
            redis.ask("PING")
        now = time.monotonic()
        gaps.append((now - last) * 1e3)
        last = now


def leave_running(container, keys, writes):
    """The longest gap that a client saw, the whole, and what the runtime says."""
    stop, gaps = threading.Event(), []
    client = threading.Thread(target=lambda: busy(container.connect(), keys, writes, stop, gaps))
    client.start()
    time.sleep(0.2)
    image = f"{container.bundle}/image"
    whole = container.call("checkpoint", "--leave-running", "--ext-unix-sk", "--image-path", image, "--work-path",
                           container.bundle)
    stop.set()
    client.join()
    with open(f"{container.bundle}/dump.json") as file:
        return max(gaps), whole, json.load(file)


def there_and_back(container, keys):
    """Milliseconds for a checkpoint that ends it, and for a restore up to its first answer."""
    image = f"{container.bundle}/image"
    down = container.call("checkpoint", "--ext-unix-sk", "--image-path", image)
    container.call("delete")
    start = time.monotonic()
    container.call("restore", "--detach", "--bundle", container.bundle, "--image-path", image)
    redis = container.connect()
    assert int(redis.ask("DBSIZE")) == keys
    up = (time.monotonic() - start) * 1e3
    for key in range(0, keys, max(1, keys // 1000)):
        assert len(redis.ask("GET", f"k:{key}")) == len(VALUE), key
    return down, up


def measure(runtime, directory, size):
    container = Container(runtime, directory)
    container.call("run", "--detach", "--bundle", directory)
    try:
        keys = size * 940
        container.connect().ask("DEBUG", "POPULATE", keys, "k", len(VALUE))
        rows = {}
        for name, writes in (("leaves it running", False), ("leaves it running, a client writes", True)):
            taken = [leave_running(container, keys, writes) for _ in range(ROUNDS)]
            gap, whole = (statistics.median(it[place] for it in taken) for place in (0, 1))
            standing = statistics.median(it[2]["microseconds_standing"] / 1e3 for it in taken)
            speed = taken[-1][2]["bytes"] / 1e6 / whole
            rows[name] = f"gap {gap:.1f} ms (stands {standing:.1f} ms), whole {whole:.0f} ms, {speed:.2f} GB/s"
        blocks = os.stat(f"{directory}/image/pages").st_blocks * 512
        rows["image"] = f"{blocks / 1e6:.1f} MB, {blocks / container.memory():.3f} x its private memory"
        taken = [there_and_back(container, keys) for _ in range(ROUNDS)]
        down, up = (statistics.median(it[place] for it in taken) for place in (0, 1))
        rows["checkpoint that ends it"] = f"{down:.1f} ms"
        rows["restore to the first answer"] = f"{up:.1f} ms"
        for name, value in rows.items():
            print(f"redis {size} MB\t{name}\t{value}", flush=True)
    finally:
        container.call("delete", "--force")


class Suspended:
    """A container of the engine's, in a store of its own."""

    def __init__(self, wharf, directory):
        self.directory = directory
        self.command = [wharf, "--root", f"{directory}/root", "--runroot", f"{directory}/run"]
        os.mkdir(f"{directory}/data")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in ("proc", "dev", "sys", "usr", "etc", "tmp", "data"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            for name in ("bin", "lib", "lib64"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
                tar.addfile(entry)
        self.call("import", "-", "empty", given=archive.getvalue())
        self.call("run", "-d", "--name", "redis", "--network", "none", "--user", "0", "-v", "/usr:/usr:ro", "-v",
                  f"{directory}/data:/data", "empty", "/usr/bin/redis-server", "--port", "0", "--unixsocket",
                  "/data/socket", "--save", "", "--dir", "/data", "--enable-debug-command", "yes")

    def call(self, *words, given=b""):
        subprocess.run([*self.command, *words], input=given, stdout=subprocess.DEVNULL, check=True)

    def connect(self):
        end = time.monotonic() + 30
        while True:
            try:
                return Redis(None, f"{self.directory}/data/socket")
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.0005)


def pager_is_there():
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/comm") as file:
                if file.read() == "wharf-pager\n":
                    return True
        except OSError:
            pass
    return False


def resume(container, key):
    """Milliseconds up to its first answer, and until all of its memory is there."""
    container.call("suspend", "redis")
    start = time.monotonic()
    container.call("resume", "redis")
    redis = container.connect()
    assert len(redis.ask("GET", key)) == len(VALUE)
    first = (time.monotonic() - start) * 1e3
    while pager_is_there():
        time.sleep(0.001)
    return first, (time.monotonic() - start) * 1e3


def measure_resume(wharf, directory, size):
    container = Suspended(wharf, directory)
    try:
        keys = size * 940
        container.connect().ask("DEBUG", "POPULATE", keys, "k", len(VALUE))
        digest = container.connect().ask("DEBUG", "DIGEST")
        taken = [resume(container, f"k:{keys // 2}") for _ in range(ROUNDS)]
        assert container.connect().ask("DEBUG", "DIGEST") == digest
        for place, name in enumerate(("resume to the first answer", "until every page is in")):
            print(f"redis {size} MB\t{name}\t{statistics.median(it[place] for it in taken):.1f} ms", flush=True)
    finally:
        container.call("rm", "-f", "redis")


def main():
    runtime, wharf = map(os.path.abspath, sys.argv[1:3])
    directory = sys.argv[3]
    for size in map(int, sys.argv[4:] or ("10", "256", "1000")):
        for act, binary in (("restore", runtime), ("resume", wharf)):
            place = f"{directory}/{act}-{size}"
            os.mkdir(place)
            (measure if act == "restore" else measure_resume)(binary, place, size)


main()
