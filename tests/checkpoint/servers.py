"""Servers with a client that keeps them busy: `servers.py NAME` is the init of a container, starts the server,
makes /data/ready when all is set up, and works until /data/go is there. Then it looks at everything once more and
writes /data/verdict: "ok", or what is wrong. The client has its connections through all of it."""
import asyncio
import base64
import hashlib
import http.client
import multiprocessing
import os
import pwd
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time


def start(*arguments, **options):
    log = open("/data/log", "ab")
    return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)


def eventually(act, seconds=60):
    end = time.monotonic() + seconds
    while True:
        try:
            return act()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def busy(work):
    """Does `work` again and again, from before everything until it is asked for the verdict."""
    rounds = 0
    while rounds < 3 or not os.path.exists("/data/go"):
        work(rounds)
        rounds += 1
        if rounds == 3:
            open("/data/ready", "w").close()
    return rounds


class Redis:
    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.socket.connect(address)
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        parts = [b"*%d\r\n" % len(words)] + [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
        self.socket.sendall(b"".join(parts))

    def answer(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$" and rest != b"-1":
            return self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        assert kind != b"-", line
        return int(rest) if kind == b":" else None if kind == b"$" else rest

    def ask(self, *words):
        self.send(*words)
        return self.answer()


def redis():
    start("redis-server", "--port", "6379", "--unixsocket", "/tmp/redis", "--save", "", "--dir", "/data")
    one, other = eventually(lambda: Redis(("127.0.0.1", 6379))), eventually(lambda: Redis("/tmp/redis"))
    value = lambda key: (b"%d " % key) * (20 + key % 300)
    other.send("BLPOP", "never", "0")
    keys = 20000
    for key in range(keys):
        one.send("SET", key, value(key))
    assert all(one.answer() == b"OK" for _ in range(keys))

    def work(number):
        key = random.randrange(keys)
        assert one.ask("GET", key) == value(key), key
        assert one.ask("INCR", "rounds") == number + 1
        # What jemalloc gives back to the kernel has to read as zero.
        one.ask("SET", "spare", b"x" * random.randrange(1 << 20))

    rounds = busy(work)
    assert one.ask("DBSIZE") == keys + 2 and int(one.ask("GET", "rounds")) == rounds
    for key in range(keys):
        assert one.ask("GET", key) == value(key), key
    one.ask("FLUSHALL")
    one.ask("SETRANGE", "zeros", 50_000_000, "x")
    assert one.ask("GET", "zeros") == b"\0" * 50_000_000 + b"x"
    one.ask("RPUSH", "never", "wakes")
    assert other.answer() == [b"never", b"wakes"]
    assert b"redis_version:7" in Redis("/tmp/redis").ask("INFO", "server")


class Psql:
    def __init__(self):
        self.process = subprocess.Popen(
            ["psql", "-h", "/tmp", "-U", "postgres", "-qAtX", "-v", "ON_ERROR_STOP=1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, sql):
        self.process.stdin.write(sql + ";\n\\echo done\n")
        lines = []
        while True:
            line = self.process.stdout.readline()
            assert line, sql
            if line == "done\n":
                return "\n".join(lines)
            lines.append(line.rstrip("\n"))


def postgres():
    where = "/usr/lib/postgresql/15/bin/"
    os.mkdir("/data/pg", 0o700)
    user = pwd.getpwnam("postgres")
    os.chown("/data/pg", user.pw_uid, user.pw_gid)
    as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    made = start(where + "initdb", "-D", "/data/pg", "-U", "postgres", "--no-sync", "-A", "trust", **as_user)
    assert made.wait() == 0, "initdb"
    server = start(where + "postgres", "-D", "/data/pg", "-k", "/tmp", "-c", "fsync=off", "-c", "jit=off",
                   "-c", "listen_addresses=127.0.0.1", "-c", "min_parallel_table_scan_size=0",
                   "-c", "parallel_setup_cost=0", "-c", "parallel_tuple_cost=0", **as_user)
    eventually(lambda: socket.socket(socket.AF_UNIX).connect("/tmp/.s.PGSQL.5432"))
    while subprocess.run(["psql", "-h", "/tmp", "-U", "postgres", "-c", "select 1"], capture_output=True).returncode:
        time.sleep(0.1)
    one, other, open_one = Psql(), Psql(), Psql()
    one.ask("create table t (i int primary key, x text)")
    one.ask("insert into t select i, repeat(i::text, 20) from generate_series(1, 50000) i")
    open_one.ask("create temp table mine (i int); begin; insert into mine values (42); declare c cursor for "
                 "select i from t order by i; fetch 10 from c")
    other.ask("create table rounds (n int)")

    def work(number):
        one.ask(f"insert into rounds values ({number})")
        assert other.ask("select count(*) from rounds") == str(number + 1)
        # Parallel workers come and go, with dynamic shared memory.
        assert other.ask("select sum(i), sum(length(x)) from t") == "1250025000|4777880"

    rounds = busy(work)
    assert open_one.ask("fetch 1 from c") == "11" and open_one.ask("select i from mine; commit") == "42"
    assert one.ask("select count(*), count(distinct n), max(n) from rounds") == f"{rounds}|{rounds}|{rounds - 1}"
    one.ask("checkpoint")
    assert one.ask("select bool_and(x = repeat(i::text, 20)) from t") == "t"
    assert Psql().ask("select count(*) from t") == "50000"
    server.send_signal(signal.SIGINT)
    assert server.wait() == 0


def nginx():
    os.makedirs("/data/www")
    content = os.urandom(300_000)
    with open("/data/www/file", "wb") as file:
        file.write(content)
    with open("/data/nginx.conf", "w") as file:
        file.write("daemon off; user root root; worker_processes 3; pid /tmp/nginx.pid; error_log /data/error;"
                   "events {} http { access_log /data/access; keepalive_requests 100000000;"
                   "server { listen 8080; root /data/www; } }")
    os.makedirs("/var/lib/nginx", exist_ok=True)
    server = start("/usr/sbin/nginx", "-c", "/data/nginx.conf")
    eventually(lambda: socket.create_connection(("127.0.0.1", 8080)))
    connections = [http.client.HTTPConnection("127.0.0.1", 8080) for _ in range(8)]

    def work(number):
        connection = connections[number % len(connections)]
        before = connection.sock
        connection.request("GET", "/file")
        assert connection.getresponse().read() == content
        assert before is None or connection.sock is before, "the connection was lost"

    busy(work)
    # The workers are replaced by the master, which has to have them as children.
    server.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", 8080)
        connection.request("GET", "/file")
        assert connection.getresponse().read() == content
    for connection in connections:
        connection.close()
    server.send_signal(signal.SIGQUIT)
    assert server.wait() == 0


def squared(number):
    return number * number


def python():
    words, answers = queue.Queue(), queue.Queue()
    stop = threading.Event()

    def thread():
        while not stop.is_set():
            try:
                answers.put(words.get(timeout=0.1) * 2)
            except queue.Empty:
                pass

    threads = [threading.Thread(target=thread) for _ in range(4)]
    for one in threads:
        one.start()
    loop = asyncio.new_event_loop()

    async def echo(reader, writer):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()

    async def serve():
        server = await asyncio.start_server(echo, "127.0.0.1", 7777)
        return server, await asyncio.open_connection("127.0.0.1", 7777)

    threading.Thread(target=loop.run_forever, daemon=True).start()
    call = lambda what: asyncio.run_coroutine_threadsafe(what, loop).result(60)
    _, (reader, writer) = call(serve())
    counter = multiprocessing.Value("i", 0)
    pool = multiprocessing.get_context("fork").Pool(3)

    def work(number):
        for word in range(10):
            words.put(word)
        assert sorted(answers.get(timeout=60) for _ in range(10)) == list(range(0, 20, 2))
        assert pool.map(squared, range(20)) == [squared(it) for it in range(20)]
        with counter.get_lock():
            counter.value += 1
        line = b"%d\n" % number
        call(asyncio.sleep(0.001))
        writer.write(line)
        assert call(reader.readline()) == line

    rounds = busy(work)
    assert counter.value == rounds
    stop.set()
    for one in threads:
        one.join()
    pool.terminate()
    pool.join()


def node():
    with open("/data/server.js", "w") as file:
        file.write("""
const http = require('http'), {Worker} = require('worker_threads');
const fs = require('fs'), seen = new Set();
fs.watch('/data/watched', (kind, name) => seen.add(name));
fs.watch('/tmp', (kind, name) => seen.add(name));
const worker = new Worker("const {parentPort} = require('worker_threads'); parentPort.on('message', n => parentPort.postMessage(n * 2));", {eval: true});
const waiting = [];
worker.on('message', n => waiting.shift().end(String(n)));
let ticks = 0;
setInterval(() => ticks++, 10);
http.createServer((request, answer) => {
  if (request.url == '/ticks') return answer.end(String(ticks));
  if (request.url == '/seen') return answer.end(String(seen.size));
  waiting.push(answer);
  worker.postMessage(Number(request.url.slice(1)));
}).listen(8080);
""")
    os.mkdir("/data/watched")
    start("node", "/data/server.js")
    eventually(lambda: socket.create_connection(("127.0.0.1", 8080)))
    connection = http.client.HTTPConnection("127.0.0.1", 8080)

    def ask(path):
        connection.request("GET", path)
        return int(connection.getresponse().read())

    def heard(count):
        if ask("/seen") != count:
            raise OSError

    def work(number):
        assert ask(f"/{number}") == number * 2
        if number < 2:
            open("/data/watched/early", "w").close()

    busy(work)
    eventually(lambda: heard(1))
    open("/data/watched/late", "w").close()
    open("/tmp/other", "w").close()
    eventually(lambda: heard(3))
    ticks = ask("/ticks")
    time.sleep(0.2)
    assert ask("/ticks") > ticks


class Mariadb:
    def __init__(self):
        self.process = subprocess.Popen(
            ["mariadb", "--no-defaults", "-S", "/tmp/my.sock", "-u", "root", "-N", "-n", "-B"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, sql):
        self.process.stdin.write(sql + "; select 'done';\n")
        lines = []
        while True:
            line = self.process.stdout.readline()
            assert line, sql
            if line == "done\n":
                return "\n".join(lines)
            lines.append(line.rstrip("\n"))


def mariadb(*options):
    for name in ("/data/db", "/data/tmp"):
        os.mkdir(name)
    made = start("mariadb-install-db", "--no-defaults", "--datadir=/data/db", "--user=root", "--skip-test-db",
                 "--auth-root-authentication-method=normal", "--skip-name-resolve")
    assert made.wait() == 0, "mariadb-install-db"
    # A pool that is smaller than the table: pages come and go all the time.
    server = start("mariadbd", "--no-defaults", "--datadir=/data/db", "--user=root", "--socket=/tmp/my.sock",
                   "--bind-address=127.0.0.1", "--tmpdir=/data/tmp", "--innodb-use-native-aio=0",
                   "--innodb-flush-method=O_DIRECT", "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=16M",
                   "--innodb-flush-log-at-trx-commit=2", "--innodb-max-dirty-pages-pct=1", *options)
    eventually(lambda: socket.socket(socket.AF_UNIX).connect("/tmp/my.sock"))
    one, other, open_one = Mariadb(), Mariadb(), Mariadb()
    one.ask("create database d")
    for client in (one, other, open_one):
        client.ask("use d")
    one.ask("create table t (i int primary key, n int, x varchar(2000)); "
            "insert into t select seq, 0, repeat(seq, 200) from seq_1_to_15000; create table rounds (n int primary key)")
    other.ask("create table locked (i int primary key) engine=Aria")
    open_one.ask("begin; insert into rounds values (1000000); create temporary table mine (i int); "
                 "insert into mine values (42)")

    def work(number):
        one.ask(f"insert into rounds values ({number}); update t set n = n + 1 where i % 100 = {number % 100}")
        other.ask(f"insert into locked values ({number})")
        assert other.ask("select count(*) from rounds") == str(number + 1)
        assert other.ask("select count(*), sum(n), sum(length(x)) from t") == f"15000\t{150 * (number + 1)}\t12778800"

    rounds = busy(work)
    assert open_one.ask("select i from mine; commit") == "42"
    assert one.ask("select count(*), count(distinct n) from rounds") == f"{rounds + 1}\t{rounds + 1}"
    assert one.ask("select count(*) from t where x <> repeat(i, 200)") == "0"
    assert one.ask("select count(*) from locked") == str(rounds)
    assert "OK" in one.ask("check table t, rounds, locked")
    assert Mariadb().ask("select count(*) from d.t") == "15000"
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def mariadb_uring():
    """As Debian builds it and nothing forbids it."""
    mariadb("--innodb-use-native-aio=1")


def jvm():
    with open("/data/Server.java", "w") as file:
        file.write("""
import com.sun.net.httpserver.*;
import java.net.InetSocketAddress;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

public class Server {
    static final ConcurrentHashMap<Integer, byte[]> kept = new ConcurrentHashMap<>();
    static final AtomicLong ticks = new AtomicLong();

    public static void main(String[] arguments) throws Exception {
        Executors.newScheduledThreadPool(4).scheduleAtFixedRate(ticks::incrementAndGet, 10, 10, TimeUnit.MILLISECONDS);
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 8080), 50);
        server.createContext("/", exchange -> {
            byte[] answer = answer(exchange.getRequestURI().getPath().substring(1)).getBytes();
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        ThreadPoolExecutor pool = (ThreadPoolExecutor) Executors.newFixedThreadPool(32);
        pool.prestartAllCoreThreads();
        server.setExecutor(pool);
        server.start();
    }

    static String answer(String what) {
        if (what.equals("ticks")) return Long.toString(ticks.get());
        if (what.equals("threads")) return Integer.toString(Thread.activeCount());
        int number = Integer.parseInt(what);
        // Garbage, so that there is something to collect, and memory that stays.
        List<byte[]> garbage = new ArrayList<>();
        for (int at = 0; at < 200; at++) garbage.add(new byte[10000]);
        kept.computeIfAbsent(number % 500, key -> digest(key, 200));
        return Base64.getEncoder().encodeToString(kept.get(number % 500));
    }

    static byte[] digest(int key, int rounds) {
        try {
            byte[] bytes = Integer.toString(key).getBytes();
            for (int at = 0; at < rounds; at++) bytes = MessageDigest.getInstance("SHA-256").digest(bytes);
            return bytes;
        } catch (Exception error) {
            throw new RuntimeException(error);
        }
    }
}
""")
    start("/usr/lib/jvm/java-17-openjdk-amd64/bin/java", "-Xmx192m", "/data/Server.java")
    eventually(lambda: socket.create_connection(("127.0.0.1", 8080)))
    connections = [http.client.HTTPConnection("127.0.0.1", 8080) for _ in range(6)]

    def ask(path, connection=connections[0]):
        connection.request("GET", path)
        return connection.getresponse().read().decode()

    def digest(number):
        text = str(number % 500).encode()
        for _ in range(200):
            text = hashlib.sha256(text).digest()
        return base64.b64encode(text).decode()

    def work(number):
        assert ask(f"/{number}", connections[number % len(connections)]) == digest(number)

    busy(work)
    assert int(ask("/threads")) >= 32
    ticks = int(ask("/ticks"))
    time.sleep(0.3)
    assert int(ask("/ticks")) > ticks
    for number in range(500):
        work(number)


def go():
    """Debian's registry is a program in Go."""
    with open("/data/config.yml", "w") as file:
        file.write("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: /data/registry}, "
                   "delete: {enabled: true}}\nhttp: {addr: '127.0.0.1:5000'}\n")
    server = start("docker-registry", "serve", "/data/config.yml")
    eventually(lambda: socket.create_connection(("127.0.0.1", 5000)))
    connection = http.client.HTTPConnection("127.0.0.1", 5000)

    def ask(method, path, body=None):
        connection.request(method, path, body, {"Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location"), answer.read()

    kept = {}

    def work(number):
        before = connection.sock
        content = random.randbytes(20000 + number % 7 * 10000)
        name = "sha256:" + hashlib.sha256(content).hexdigest()
        status, place, _ = ask("POST", "/v2/some/blobs/uploads/")
        assert status == 202, status
        place = place.removeprefix("http://127.0.0.1:5000")
        status, place, _ = ask("PATCH", place, content[:10000])
        assert status == 202, status
        place = place.removeprefix("http://127.0.0.1:5000")
        status, _, _ = ask("PUT", place + "&digest=" + name, content[10000:])
        assert status == 201, status
        kept[name] = content
        name, content = random.choice(list(kept.items()))
        assert ask("GET", "/v2/some/blobs/" + name)[2] == content
        assert before is None or connection.sock is before, "the connection was lost"

    busy(work)
    for name, content in kept.items():
        assert ask("GET", "/v2/some/blobs/" + name)[2] == content
    server.send_signal(signal.SIGTERM)
    server.wait()


def main():
    try:
        globals()[sys.argv[1]]()
        verdict = "ok"
    except BaseException as error:  # whatever it is, it is the verdict
        import traceback
        verdict = f"{error!r}\n{traceback.format_exc()}"
    with open("/data/verdict.new", "w") as file:
        file.write(verdict)
    os.rename("/data/verdict.new", "/data/verdict")
    os._exit(verdict != "ok")


main()
