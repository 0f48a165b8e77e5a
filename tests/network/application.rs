//! An application of several containers that find each other by name: a web server, PostgreSQL, Redis, all of this
//! machine's Debian packages.

use black_box_tests::{Bed, ImageBuilder, Tar, bed, eventually};

/// Answers each request with what the database holds and what the cache has counted.
const WEB: &str = r#"
import http.server, socket, subprocess

def said(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            rows = said("psql", "-h", "db", "-U", "postgres", "-tAc", "select string_agg(name, ',' order by name) from fruit")
            hits = said("redis-cli", "-h", "cache", "incr", "hits")
            body = f"fruit {rows} hits {hits} for {self.client_address[0]}\n".encode()
            self.send_response(200)
        except Exception as error:
            body = f"{error}\n".encode()
            self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

Server(("::", 8000), Handler).serve_forever()
"#;

const DATABASE: &str =
    "cd /data && PATH=$PATH:/usr/lib/postgresql/15/bin && initdb -D d -A trust >/dev/null && \
    echo 'host all all all trust' >>d/pg_hba.conf && \
    postgres --single -D d postgres >/dev/null <<'.'
create table fruit (name text);
insert into fruit values ('pear'), ('apple');
.
exec postgres -D d -h '*' -k /data";

fn image(bed: &Bed) {
    let tar = Tar::new()
        .symlink("lib", "usr/lib")
        .symlink("lib64", "usr/lib64")
        .directory("usr", 0o755)
        .file(
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/data:/bin/sh\n",
        )
        .file("web.py", 0o644, WEB);
    let archive = bed.file(
        "app.tar",
        ImageBuilder::busybox().tar(tar).docker_archive("app"),
    );
    bed.run(&["load", "-q", "-i", &archive]).ok();
}

/// Starts one of the parts, on the network `app` unless it says where.
fn start(bed: &Bed, name: &str, options: &[&str], command: &[&str]) {
    let usual = [
        "run",
        "-d",
        "--name",
        name,
        "-v",
        "/usr:/usr:ro",
        "-e",
        "LC_ALL=C",
        "-e",
        "PATH=/usr/bin:/usr/sbin:/bin",
        "--tmpfs",
        "/tmp:mode=1777",
    ];
    let network = if options.contains(&"--network") {
        &[][..]
    } else {
        &["--network", "app"]
    };
    bed.run(&[&usual, network, options, &["app"], command].concat())
        .ok();
}

/// What the web server says to `container`, once it can be reached and has reached the others.
fn wait_for_answer(bed: &Bed, container: &str, url: &str) -> String {
    eventually(60, "an answer of the web server", || {
        let outcome = bed.run(&["exec", container, "wget", "-q", "-O", "-", url]);
        outcome.status.success().then(|| outcome.text())
    })
}

#[test]
fn a_web_server_a_database_and_a_cache_talk_over_names_and_to_nobody_else() {
    bed!(|bed| {
        image(bed);
        bed.run(&["network", "create", "app"]).ok();
        bed.run(&["network", "create", "elsewhere"]).ok();
        let data = ["--user", "70", "--tmpfs", "/data:uid=70,mode=0700"];
        start(bed, "db", &data, &["sh", "-c", DATABASE]);
        let cache = [
            "redis-server",
            "--protected-mode",
            "no",
            "--bind",
            "0.0.0.0",
            "::",
            "--save",
            "",
        ];
        start(bed, "cache", &[], &cache);
        start(
            bed,
            "web",
            &["--network-alias", "www"],
            &["python3", "/web.py"],
        );
        start(bed, "client", &[], &["sleep", "1000"]);
        start(
            bed,
            "stranger",
            &["--network", "elsewhere"],
            &["sleep", "1000"],
        );

        // By both versions of IP, and the client's own address arrives.
        let mut hits = 0;
        for (version, before) in [("IPAddress", "::ffff:"), ("GlobalIPv6Address", "")] {
            let format = format!("{{{{.NetworkSettings.Networks.app.{version}}}}}");
            let own = bed.inspect("client", &format);
            let web = bed.inspect("web", &format);
            let host = if web.contains(':') {
                format!("[{web}]")
            } else {
                web
            };
            hits += 1;
            let said = wait_for_answer(bed, "client", &format!("http://{host}:8000/"));
            assert_eq!(
                said,
                format!("fruit apple,pear hits {hits} for {before}{own}\n")
            );
        }
        let said = wait_for_answer(bed, "client", "http://www:8000/");
        assert!(said.starts_with("fruit apple,pear hits 3 for "), "{said}");

        // From the other network neither a name is known nor an address reached.
        for (name, port) in [("web", "8000"), ("db", "5432"), ("cache", "6379")] {
            let format = "{{.NetworkSettings.Networks.app.IPAddress}} {{.NetworkSettings.Networks.app.GlobalIPv6Address}}";
            let addresses = bed.inspect(name, format);
            for host in addresses.split(' ').chain([name]) {
                let reach = |from: &str| {
                    let connect = "import socket, sys; socket.create_connection(sys.argv[1:], 2)";
                    bed.run(&["exec", from, "python3", "-c", connect, host, port])
                        .status
                        .success()
                };
                assert!(
                    !reach("stranger"),
                    "{name} is reached at {host} from another network"
                );
                assert!(
                    reach("client"),
                    "{name} is not reached at {host} from its own"
                );
            }
        }
    });
}
