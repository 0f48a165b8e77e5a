//! Containers that pretend to be others, and names that pretend to be lines.

use black_box_tests::{BUSYBOX, bed};

/// Sends frames by the link `eth0`: one that is honest and many that are not; `names` tells them apart.
const ATTACKER: &str = r#"
import socket, struct, sys
own_mac, own_ip, victim_mac, victim_ip, other_ip, resolver_ip, own_ip6, other_ip6, victim_ip6 = sys.argv[1:]
mac = lambda text: bytes.fromhex(text.replace(":", ""))
ip4, ip6 = socket.inet_aton, lambda text: socket.inet_pton(socket.AF_INET6, text)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
def sum16(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def frame(kind, data, source=None, to=None):
    wire.send((to or mac(victim_mac)) + (source or mac(own_mac)) + struct.pack("!H", kind) + data)
def udp(source, marker, port=5353):
    data = struct.pack("!4H", port, 9999, 8 + len(marker), 0) + marker
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 1, 0, 64, 17, 0) + ip4(source) + ip4(victim_ip)
    return head[:10] + struct.pack("!H", sum16(head)) + head[12:] + data
def icmp6(source, target, message):
    data = message[:2] + b"\0\0" + message[4:]
    pseudo = ip6(source) + ip6(target) + struct.pack("!II", len(data), 58)
    data = data[:2] + struct.pack("!H", sum16(pseudo + data)) + data[4:]
    return struct.pack("!IHBB", 6 << 28, len(data), 58, 255) + ip6(source) + ip6(target) + data
def arp(sender_mac, sender_ip):
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + sender_mac + ip4(sender_ip) + mac(victim_mac) + ip4(victim_ip)
liar = bytes.fromhex("024242424242")
frame(0x0800, udp(own_ip, b"HONEST"))
frame(0x0800, udp(other_ip, b"SPOOFED-IP"))
frame(0x0800, udp(resolver_ip, b"SPOOFED-DNS", 53))
frame(0x0800, udp(own_ip, b"SPOOFED-MAC"), source=liar)
frame(0x0806, arp(mac(own_mac), own_ip))
frame(0x0806, arp(mac(own_mac), other_ip))
frame(0x0806, arp(liar, own_ip))
router = bytes([134, 0, 0, 0, 64, 0]) + struct.pack("!HII", 1800, 0, 0)
frame(0x86dd, icmp6(own_ip6, victim_ip6, router))
redirect = bytes([137, 0, 0, 0]) + b"\0" * 4 + ip6(own_ip6) + ip6(other_ip6)
frame(0x86dd, icmp6(own_ip6, victim_ip6, redirect))
claim = bytes([136, 0, 0, 0, 0x60, 0, 0, 0]) + ip6(other_ip6) + b"\x02\x01" + mac(own_mac)
frame(0x86dd, icmp6(own_ip6, victim_ip6, claim))
frame(0x86dd, icmp6(other_ip6, victim_ip6, bytes([128, 0, 0, 0]) + b"SPOOFED-IP6."))
frame(0x8100, struct.pack("!HH", 5, 0x0800) + udp(own_ip, b"TAGGED"))
"#;

/// Says what comes in by `eth0` within two seconds.
const VICTIM: &str = r#"
import socket, time, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
wire.bind(("eth0", 0))
wire.settimeout(0.2)
print("ready", flush=True)
end = time.time() + 2
while time.time() < end:
    try:
        frame, about = wire.recvfrom(2000)
    except TimeoutError:
        continue
    if about[2] == 4:
        continue
    kind = frame[12:14].hex()
    if kind == "0806" and frame[20:22] == b"\0\2":
        print("ARP", frame[22:28].hex(), socket.inet_ntoa(frame[28:32]))
    elif kind == "86dd" and frame[20] == 58 and frame[54] in (128, 134, 136, 137):
        print("ICMP6", frame[54], socket.inet_ntop(socket.AF_INET6, frame[62:78]) if frame[54] == 136 else "")
    else:
        for marker in (b"HONEST", b"SPOOFED-IP", b"SPOOFED-DNS", b"SPOOFED-MAC", b"TAGGED"):
            if marker in frame:
                print(marker.decode())
print("done", flush=True)
"#;

#[test]
fn nobody_speaks_for_another() {
    bed!(|bed| {
        let ids: Vec<String> = ["attacker", "victim", "other"]
            .iter()
            .map(|name| bed.start(&["--name", name]))
            .collect();
        let fact =
            |of: &str, what: &str| bed.inspect(of, &format!("{{{{.NetworkSettings.{what}}}}}"));
        let pid = |of: &str| bed.inspect(of, "{{.State.Pid}}");
        let resolver = bed.run(&["exec", &ids[0], "cat", "/etc/resolv.conf"]).ok();
        let resolver = resolver
            .lines()
            .find_map(|line| line.strip_prefix("nameserver "))
            .unwrap()
            .to_owned();
        let inside = |of: &str| format!("--net=/proc/{}/ns/net", pid(of));
        let sniffer = bed
            .program("nsenter", &[&inside("victim"), "python3", "-c", VICTIM])
            .start();
        sniffer.wait_for("ready");
        let (attacker_mac, victim_mac) =
            (fact("attacker", "MacAddress"), fact("victim", "MacAddress"));
        bed.host(
            "nsenter",
            &[
                &inside("attacker"),
                "python3",
                "-c",
                ATTACKER,
                &attacker_mac,
                &fact("attacker", "IPAddress"),
                &victim_mac,
                &fact("victim", "IPAddress"),
                &fact("other", "IPAddress"),
                &resolver,
                &fact("attacker", "GlobalIPv6Address"),
                &fact("other", "GlobalIPv6Address"),
                &fact("victim", "GlobalIPv6Address"),
            ],
        )
        .ok();
        sniffer.wait_for("done");
        let seen = sniffer.finish().text();
        let own = fact("attacker", "IPAddress");
        let own_claim = format!("ARP {} {own}", attacker_mac.replace(':', ""));
        let mut lines: Vec<&str> = seen
            .lines()
            .filter(|line| !matches!(*line, "ready" | "done"))
            .collect();
        lines.sort_unstable();
        lines.dedup();
        // What is its own arrives, and nothing else.
        lines.retain(|line| {
            !line.starts_with("ICMP6 136")
                || !line.ends_with(&fact("attacker", "GlobalIPv6Address"))
        });
        assert_eq!(lines, [own_claim.as_str(), "HONEST"], "{seen}");
    });
}

#[test]
fn names_are_no_lines() {
    bed!(|bed| {
        for (option, value) in [
            ("--add-host", "a\n6.6.6.6 bank:10.0.0.1"),
            ("--hostname", "a\n6.6.6.6 bank"),
            ("--domainname", "a\n6.6.6.6 bank"),
            ("--network-alias", "a\nb"),
            ("--dns-search", "a\nnameserver 6.6.6.6"),
            ("--dns-option", "a\nnameserver 6.6.6.6"),
        ] {
            let outcome = bed.run(&[
                "run",
                "--rm",
                option,
                value,
                BUSYBOX,
                "cat",
                "/etc/hosts",
                "/etc/resolv.conf",
            ]);
            assert!(
                !outcome.text().contains("6.6.6.6"),
                "{option}: {}",
                outcome.story()
            );
        }
    });
}

#[test]
fn rubbish_does_not_hurt_the_resolver() {
    bed!(|bed| {
        bed.start(&["--name", "a"]);
        let pid = bed.inspect("a", "{{.State.Pid}}");
        let script = r#"
import os, random, socket, sys
server = [line.split()[1] for line in open("/proc/%s/root/etc/resolv.conf" % sys.argv[1]) if line.startswith("nameserver")][0]
random.seed(7)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for length in list(range(0, 64)) + [512, 1400, 60000]:
    for _ in range(20):
        udp.sendto(random.randbytes(length), (server, 53))
header = b"\0\1\1\0\0\1\0\0\0\0\0\0"
for tail in (b"\xc0\x0c\0\1\0\1", b"\x3f" * 300, b"\1a" * 200 + b"\0\0\1\0\1", b"\0", b"\0\0\1"):
    udp.sendto(header + tail, (server, 53))
held = []
for _ in range(40):
    tcp = socket.socket()
    tcp.settimeout(1)
    try:
        tcp.connect((server, 53))
        tcp.send(b"\xff\xff" + os.urandom(100))
        held.append(tcp)
    except OSError:
        pass
"#;
        bed.host(
            "nsenter",
            &[
                &format!("--net=/proc/{pid}/ns/net"),
                "python3",
                "-c",
                script,
                &pid,
            ],
        )
        .ok();
        let address = bed.inspect("a", "{{.NetworkSettings.IPAddress}}");
        let said = bed.run(&["exec", "a", "nslookup", "a"]);
        assert!(said.text().contains(&address), "{}", said.story());
    });
}
