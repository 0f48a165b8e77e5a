//! Published ports beside other firewalls; who can reach what; limits on traffic.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use black_box_tests::{BUSYBOX, Bed, bed, eventually};

const SERVER: &str = "nc -ll -p 80 -e echo hello";
/// A second host, and the name of its namespace's holder.
const NEIGHBOR: &str = "set -e
    unshare --net sleep 1000 > /dev/null 2>&1 & pid=$!; sleep 0.3
    ip link add far0 type veth peer name far1 netns $pid
    ip addr add 198.51.100.1/24 dev far0; ip link set far0 up
    nsenter --net=/proc/$pid/ns/net ip addr add 198.51.100.2/24 dev far1
    nsenter --net=/proc/$pid/ns/net ip link set far1 up
    echo $pid > \"$0\"";

struct Neighbor<'a> {
    bed: &'a Bed,
    pid: String,
}

impl<'a> Neighbor<'a> {
    fn new(bed: &'a Bed) -> Self {
        let file = bed.dir().join("neighbor");
        bed.host("sh", &["-c", NEIGHBOR, file.to_str().unwrap()])
            .ok();
        let pid = std::fs::read_to_string(&file).unwrap().trim().to_owned();
        Self { bed, pid }
    }

    fn asks(&self, port: &str) -> bool {
        let net = format!("--net=/proc/{}/ns/net", self.pid);
        let script = format!("nc -w 2 198.51.100.1 {port} < /dev/null");
        let outcome = self
            .bed
            .host("nsenter", &[&net, "busybox", "sh", "-c", &script]);
        outcome.text() == "hello\n"
    }

    fn leaves(self) {
        self.bed.host("kill", &["-9", &self.pid]);
        eventually(5, "the link to be gone", || {
            self.bed.host("ip", &["link", "del", "far0"]);
            (!std::path::Path::new("/sys/class/net/far0").exists()).then_some(())
        });
    }
}

#[test]
fn a_drop_of_another_firewall_stays_a_drop() {
    bed!(|bed| {
        let neighbor = Neighbor::new(bed);
        bed.run(&[
            "run", "-d", "-p", "8080:80", "-p", "8081:80", BUSYBOX, "sh", "-c", SERVER,
        ])
        .ok();
        eventually(10, "an answer", || neighbor.asks("8080").then_some(()));
        assert!(neighbor.asks("8081"));
        // As an administrator writes it, by the port that the world sees.
        let rules = bed.file(
            "rules",
            "table inet mine {\n chain forward {\n type filter hook forward priority 0; policy accept;\n\
             meta l4proto tcp ct original proto-dst 8080 drop\n }\n}\n",
        );
        bed.host("nft", &["-f", &rules]).ok();
        assert!(!neighbor.asks("8080") && neighbor.asks("8081"));
        // What we do later does not open it.
        bed.run(&["run", "-d", "-p", "8082:80", BUSYBOX, "sh", "-c", SERVER])
            .ok();
        bed.run(&["system", "repair"]).ok();
        assert!(!neighbor.asks("8080"));
        eventually(10, "the new one", || neighbor.asks("8082").then_some(()));
        let said = bed.run(&["ports"]);
        assert!(
            said.error().contains("inet mine forward"),
            "{}",
            said.story()
        );
        // Forwarding is forbidden altogether, as ufw and firewalld do.
        bed.host("nft", &["delete", "table", "inet", "mine"]).ok();
        let rules = bed.file(
            "policy",
            "table inet mine {\n chain forward {\n type filter hook forward priority 10; policy drop;\n }\n}\n",
        );
        bed.host("nft", &["-f", &rules]).ok();
        assert!(!neighbor.asks("8080") && !neighbor.asks("8082"));
        // A reload takes everything away, and nothing is open that was not published.
        bed.host("nft", &["flush", "ruleset"]).ok();
        bed.run(&["system", "repair"]).ok();
        assert!(neighbor.asks("8080") && neighbor.asks("8082"));
        assert!(!neighbor.asks("80"));
        neighbor.leaves();
    });
}

#[test]
fn where_ports_are_published_that_name_no_address() {
    bed!(|bed| {
        let neighbor = Neighbor::new(bed);
        let config = bed.file("wharf.toml", "[publish]\ndefault-address = \"127.0.0.1\"\n");
        let with = |arguments: &[&str]| {
            let mut all = vec!["--config", &config];
            all.extend(arguments);
            bed.run(&all)
        };
        with(&[
            "run",
            "-d",
            "--name",
            "a",
            "-p",
            "8080:80",
            "-p",
            "198.51.100.1:8081:80",
            BUSYBOX,
            "sh",
            "-c",
            SERVER,
        ])
        .ok();
        eventually(10, "an answer", || neighbor.asks("8081").then_some(()));
        assert!(!neighbor.asks("8080"));
        let mut stream = TcpStream::connect("127.0.0.1:8080").unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello\n");
        // A connection that is closed on one side alone keeps the namespace, and its link, for a minute.
        drop(stream);
        let listed = bed.run(&["ports"]).ok();
        let line = |port: &str| {
            listed
                .lines()
                .find(|line| line.contains(port))
                .unwrap()
                .to_owned()
        };
        assert!(line("8080").contains("this host alone"), "{listed}");
        assert!(
            line("8081").contains("everybody who reaches 198.51.100.1"),
            "{listed}"
        );
        assert!(bed.run(&["port", "a"]).ok().contains("127.0.0.1:8080"));
        bed.run(&["rm", "-f", "a"]).ok();
        assert_eq!(bed.run(&["ports", "--format", "{{.Published}}"]).ok(), "");
        neighbor.leaves();
    });
}

#[test]
fn traffic_is_limited_at_both_ends() {
    bed!(|bed| {
        let id = bed.start(&["--name", "a", "--network-rate", "8mbit"]);
        let pid = bed.inspect(&id, "{{.State.Pid}}");
        let inside = bed
            .host(
                "nsenter",
                &[
                    &format!("--net=/proc/{pid}/ns/net"),
                    "tc",
                    "qdisc",
                    "show",
                    "dev",
                    "eth0",
                ],
            )
            .ok();
        assert!(
            inside.contains("tbf") && inside.contains("rate 8Mbit"),
            "{inside}"
        );
        let address = bed.inspect(&id, "{{.NetworkSettings.IPAddress}}");
        let octets: Vec<String> = address
            .split('.')
            .map(|octet| format!("{:02x}", octet.parse::<u8>().unwrap()))
            .collect();
        let outside = bed
            .host(
                "tc",
                &["qdisc", "show", "dev", &format!("wh{}", octets.concat())],
            )
            .ok();
        assert!(
            outside.contains("tbf") && outside.contains("rate 8Mbit"),
            "{outside}"
        );
        bed.run(&["run", "--rm", "--network-rate", "fast", BUSYBOX, "true"])
            .fails(125, &["10mbit"]);
    });
}
