//! Published ports.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use black_box_tests::{BUSYBOX, Bed, ImageBuilder, bed, eventually};
use serde_json::json;

/// Answers every connection on port 80 with one line.
const SERVER: &str = "nc -ll -p 80 -e echo hello";

fn serve(bed: &Bed, options: &[&str]) -> String {
    let mut arguments = vec!["run", "-d"];
    arguments.extend(options);
    arguments.extend([BUSYBOX, "sh", "-c", SERVER]);
    bed.run(&arguments).ok()
}

fn ask(address: &str) -> Option<String> {
    let mut stream =
        TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(2)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}

fn answers(address: &str) {
    let answer = eventually(10, &format!("an answer at {address}"), || ask(address));
    assert_eq!(answer, "hello\n");
}

#[test]
fn on_loopback_and_on_the_hosts_address() {
    bed!(|bed| {
        bed.host("sh", &["-c", "ip link add out type veth peer name outer && ip addr add 192.0.2.10/24 dev out && ip link set out up && ip link set outer up"]).ok();
        serve(bed, &["-p", "8080:80"]);
        answers("127.0.0.1:8080");
        answers("192.0.2.10:8080");
        // From another container, through the host's address.
        eventually(10, "an answer to a container", || {
            (bed.shell(
                &["--network", "bridge"],
                "nc -w 2 192.0.2.10 8080 < /dev/null",
            )
            .text()
                == "hello\n")
                .then_some(())
        });
        bed.host("busybox", &["ip", "link", "del", "out"]).ok();
    });
}

#[test]
fn a_host_address_binds_that_only() {
    bed!(|bed| {
        bed.host("sh", &["-c", "busybox ip addr add 127.0.0.2/8 dev lo"])
            .ok();
        serve(bed, &["-p", "127.0.0.1:8080:80"]);
        answers("127.0.0.1:8080");
        assert!(ask("127.0.0.2:8080").is_none());
    });
}

#[test]
fn ipv6() {
    bed!(|bed| {
        bed.host("sh", &["-c", "ip link add out type veth peer name outer && ip -6 addr add 2001:db8::10/64 dev out nodad && ip link set out up && ip link set outer up"]).ok();
        serve(bed, &["-p", "8087:80"]);
        answers("127.0.0.1:8087");
        answers("[2001:db8::10]:8087");
        // The kernel forwards no traffic of ::1, and there is no proxy: said, not silently useless.
        bed.run(&["run", "--rm", "-p", "[::1]:8086:80", BUSYBOX, "true"])
            .fails(125, &["::1", "127.0.0.1"]);
        bed.host("busybox", &["ip", "link", "del", "out"]).ok();
    });
}

#[test]
fn a_container_reaches_itself_through_its_own_port() {
    bed!(|bed| {
        let id = serve(bed, &["-p", "8080:80"]);
        answers("127.0.0.1:8080");
        let gateway = bed.inspect(&id, "{{.NetworkSettings.Gateway}}");
        eventually(10, "hairpin", || {
            (bed.run(&[
                "exec",
                &id,
                "sh",
                "-c",
                &format!("nc -w 2 {gateway} 8080 < /dev/null"),
            ])
            .text()
                == "hello\n")
                .then_some(())
        });
    });
}

#[test]
fn udp() {
    bed!(|bed| {
        // Busybox has no server for datagrams; this very program is static, so it can be one.
        let own = format!("{}:/server:ro", std::env::current_exe().unwrap().display());
        let words = [
            "run",
            "-d",
            "-v",
            &own,
            "-e",
            "DATAGRAM_SERVER=yes",
            "-p",
            "127.0.0.1:5300:53/udp",
            BUSYBOX,
        ];
        let server = [
            "/server",
            "--exact",
            "ports::datagram_server",
            "--include-ignored",
        ];
        bed.run(&[&words[..], &server].concat()).ok();
        eventually(10, "a datagram back", || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(500)))
                .unwrap();
            socket.send_to(b"ping", "127.0.0.1:5300").ok()?;
            let mut buffer = [0; 16];
            let (length, from) = socket.recv_from(&mut buffer).ok()?;
            assert_eq!((&buffer[..length], from.port()), (&b"pong"[..], 5300));
            Some(())
        });
    });
}

#[test]
#[ignore = "the server of the test `udp`, run in its container"]
fn datagram_server() {
    if std::env::var_os("DATAGRAM_SERVER").is_none() {
        return;
    }
    let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
    let mut buffer = [0; 16];
    while let Ok((_, from)) = socket.recv_from(&mut buffer) {
        socket.send_to(b"pong", from).unwrap();
    }
}

#[test]
fn ranges_and_ephemeral_ports() {
    bed!(|bed| {
        let id = serve(
            bed,
            &["-p", "9000-9002:80-82", "-p", "127.0.0.1::80", "-p", "80"],
        );
        answers("127.0.0.1:9000");
        let ports = bed
            .run(&["inspect", "-f", "{{json .NetworkSettings.Ports}}", &id])
            .json();
        assert_eq!(ports["82/tcp"][0]["HostPort"], "9002");
        let bound: Vec<_> = ports["80/tcp"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|port| port["HostPort"] != "9000")
            .collect();
        assert!(bound.len() >= 2, "{ports}");
        for port in bound.iter().filter(|port| port["HostIp"] != "::") {
            let number: u16 = port["HostPort"].as_str().unwrap().parse().unwrap();
            assert!(number > 1024);
            answers(&format!("127.0.0.1:{number}"));
        }
    });
}

#[test]
fn all_exposed_ports() {
    bed!(|bed| {
        let image =
            ImageBuilder::busybox().set("ExposedPorts", json!({ "80/tcp": {}, "53/udp": {} }));
        let file = bed.file("exposing.tar", image.docker_archive("exposing:1"));
        bed.run(&["load", "-q", "-i", &file]).ok();
        let id = bed
            .run(&["run", "-d", "-P", "exposing:1", "sh", "-c", SERVER])
            .ok();
        let ports = bed
            .run(&["inspect", "-f", "{{json .NetworkSettings.Ports}}", &id])
            .json();
        answers(&format!(
            "127.0.0.1:{}",
            ports["80/tcp"][0]["HostPort"].as_str().unwrap()
        ));
        assert!(ports["53/udp"][0]["HostPort"].as_str().is_some());
        assert!(bed.run(&["ps"]).ok().contains("->80/tcp"));
    });
}

#[test]
fn a_port_in_use_is_said_before_anything_starts() {
    bed!(|bed| {
        let listener = TcpListener::bind("127.0.0.1:7070").unwrap();
        bed.run(&[
            "run", "--name", "late", "-p", "7070:80", BUSYBOX, "touch", "/started",
        ])
        .fails(125, &["7070", "in use"]);
        // As Docker: the container is there, never started; and the port is free for another try.
        bed.nothing_runs();
        drop(listener);
        bed.run(&["rm", "-f", "late"]);
        serve(bed, &["-p", "7070:80"]);
        answers("127.0.0.1:7070");
        bed.run(&["run", "--rm", "-p", "127.0.0.1:7070:80", BUSYBOX, "true"])
            .fails(125, &["7070", "in use"]);
    });
}

#[test]
fn nobody_else_can_take_a_published_port() {
    bed!(|bed| {
        let id = serve(bed, &["-p", "7171:80"]);
        assert!(TcpListener::bind("127.0.0.1:7171").is_err());
        bed.run(&["rm", "-f", &id]).ok();
        TcpListener::bind("127.0.0.1:7171").unwrap();
    });
}

#[test]
fn malformed_ports() {
    bed!(|bed| {
        for bad in [
            "http",
            "70000:80",
            "80:",
            "1-3:1-2",
            "1.2.3.4.5:80:80",
            "80:80/icmp",
            "-5:80",
            "5-3:80",
        ] {
            let option = format!("--publish={bad}");
            bed.run(&["run", "--rm", &option, BUSYBOX, "true"])
                .fails(125, &["port"]);
        }
    });
}

#[test]
fn much_traffic_through_a_port() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "-d",
            "-p",
            "127.0.0.1:8088:80",
            BUSYBOX,
            "sh",
            "-c",
            "nc -ll -p 80 -e md5sum",
        ])
        .ok();
        let data = vec![b'w'; 20 << 20];
        let answer = eventually(10, "the sum", || {
            let mut stream = TcpStream::connect("127.0.0.1:8088").ok()?;
            stream.write_all(&data).ok()?;
            stream.shutdown(std::net::Shutdown::Write).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            (!answer.is_empty()).then_some(answer)
        });
        let file = bed.file("data", &data);
        assert_eq!(answer[..32], bed.host("md5sum", &[&file]).ok()[..32]);
    });
}

#[test]
fn ports_go_with_the_way_out() {
    bed!(|bed| {
        bed.run(&["network", "create", "one"]).ok();
        bed.run(&["network", "create", "two"]).ok();
        bed.run(&["network", "create", "--internal", "inner"]).ok();
        let published = ["-p", "127.0.0.1:8080:80", "-p", "127.0.0.1:8053:53/udp"];
        let networks = ["--name", "web", "--network", "one", "--network", "two"];
        let id = serve(bed, &[&networks[..], &published].concat());
        let shown = || bed.run(&["port", "web"]).ok();
        let before = shown();
        let rules = || {
            bed.host("nft", &["list", "ruleset"])
                .ok()
                .matches(&id[..12])
                .count()
        };
        let places = || {
            let wanted = "{{(index .NetworkSettings.Networks \"two\").IPAddress}}";
            let two = bed.inspect("web", wanted);
            let table = bed.host("nft", &["list", "ruleset"]).ok();
            (table.matches(&format!("{two} . 80")).count(), rules())
        };
        answers("127.0.0.1:8080");
        assert_eq!(places(), (0, 2));
        // The one that leads out goes: the other has them, and the answers.
        bed.run(&["network", "disconnect", "one", "web"]).ok();
        answers("127.0.0.1:8080");
        assert_eq!(places(), (1, 2));
        assert_eq!(shown(), before);
        // A network that leads nowhere changes nothing; one that is preferred does.
        bed.run(&["network", "connect", "inner", "web"]).ok();
        assert_eq!(places(), (1, 2));
        bed.run(&["network", "connect", "--gw-priority", "5", "one", "web"])
            .ok();
        answers("127.0.0.1:8080");
        assert_eq!(places(), (0, 2));
        assert_eq!(shown(), before);
        // As after the next start.
        bed.run(&["restart", "-t", "0", "web"]).ok();
        answers("127.0.0.1:8080");
        assert_eq!(places(), (0, 2));
        bed.run(&["rm", "-f", "web"]).ok();
        assert_eq!(rules(), 0);
        bed.run(&["network", "rm", "one", "two", "inner"]).ok();
    });
}

/// Says something and hears it again.
fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"x").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

fn echo_at(address: &str) -> TcpStream {
    eventually(10, &format!("an echo at {address}"), || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(b"x").ok()?;
        let mut byte = [0];
        stream.read_exact(&mut byte).ok().map(|()| stream)
    })
}

fn is_closed(address: &str) {
    assert!(TcpStream::connect(address).is_err(), "{address} is open");
    // And anybody's.
    TcpListener::bind(address).unwrap();
}

#[test]
fn change_while_it_runs() {
    bed!(|bed| {
        let script = "nc -ll -p 81 -e cat & nc -ll -p 80 -e cat";
        let id = bed
            .run(&[
                "run",
                "-d",
                "--restart",
                "always",
                "-p",
                "127.0.0.1:8080:80",
                BUSYBOX,
                "sh",
                "-c",
                script,
            ])
            .ok();
        let pid = bed.inspect(&id, "{{.State.Pid}}");
        let mut first = echo_at("127.0.0.1:8080");
        let update = |words: &[&str]| {
            let mut arguments = vec!["update"];
            arguments.extend(words);
            arguments.push(&id);
            let outcome = bed.run(&arguments);
            outcome.ok();
            assert_eq!(outcome.error(), "");
            bed.run(&["port", &id]).ok()
        };
        // One more, while somebody talks through the first.
        assert_eq!(
            update(&["-p", "127.0.0.1:8081:81", "--restart", "always"]),
            "80/tcp -> 127.0.0.1:8080\n81/tcp -> 127.0.0.1:8081"
        );
        echoes(&mut first);
        let _second = echo_at("127.0.0.1:8081");
        // Taken away.
        update(&["--unpublish", "81"]);
        is_closed("127.0.0.1:8081");
        echoes(&mut first);
        // The same port of the host for another one inside: it stands in its own way.
        assert_eq!(
            update(&["--unpublish", "80", "-p", "127.0.0.1:8080:81"]),
            "81/tcp -> 127.0.0.1:8080"
        );
        let _third = echo_at("127.0.0.1:8080");
        // On every address now.
        assert!(update(&["-p", "8080:81"]).starts_with("81/tcp -> 0.0.0.0:8080"));
        let _fourth = echo_at("127.0.0.1:8080");
        // A range with one that is there, and one of the kernel's choice.
        assert_eq!(
            update(&["-p", "127.0.0.1:8080-8081:80-81", "--unpublish", "81"]),
            "80/tcp -> 127.0.0.1:8080\n81/tcp -> 127.0.0.1:8081"
        );
        let mut fifth = echo_at("127.0.0.1:8081");
        let many: Vec<String> = (0..30).map(|port| format!("{}", 9000 + port)).collect();
        let mut words = Vec::new();
        for port in &many {
            words.extend(["-p", port]);
        }
        assert!(update(&words).lines().count() >= 32);
        let mut words = Vec::new();
        for port in &many {
            words.extend(["--unpublish", port]);
        }
        assert_eq!(update(&words).lines().count(), 2);
        echoes(&mut fifth);
        assert_eq!(bed.inspect(&id, "{{.State.Pid}}"), pid);
        // All of it is so after a start as well.
        bed.run(&["restart", "-t", "0", &id]).ok();
        let _sixth = echo_at("127.0.0.1:8081");
        is_closed("127.0.0.1:9000");
    });
}

#[test]
fn what_cannot_be_published_changes_nothing() {
    bed!(|bed| {
        let id = serve(bed, &["-p", "127.0.0.1:8080:80"]);
        answers("127.0.0.1:8080");
        let other = TcpListener::bind("127.0.0.1:9000").unwrap();
        let state = || {
            let ports = bed.run(&["port", &id]).ok();
            let asked = bed.inspect(
                &id,
                "{{.HostConfig.Memory}} {{json .HostConfig.PortBindings}}",
            );
            let rules = bed.host("nft", &["list", "ruleset"]).ok();
            (ports, asked, rules.matches(&id[..12]).count())
        };
        let before = state();
        // Also where its own port has to go first for that.
        let moved = ["-p", "127.0.0.1:9000:80", "-p", "127.0.0.1:8080:81"];
        for ports in [&moved[..2], &moved[..]] {
            let mut words = vec!["update", "-m", "64m"];
            words.extend(ports);
            words.push(&id);
            let outcome = bed.run(&words);
            outcome.fails(1, &["port 9000 on 127.0.0.1 is already in use", "hint: "]);
            assert_eq!(state(), before);
            answers("127.0.0.1:8080");
            assert!(TcpListener::bind("127.0.0.1:8080").is_err());
        }
        // A limit that the kernel refuses takes the port back.
        let refused = [
            "update",
            "--cpuset-cpus",
            "4000",
            "-p",
            "127.0.0.1:9001:80",
            &id,
        ];
        bed.run(&refused).fails(1, &["4000"]);
        assert_eq!(state(), before);
        is_closed("127.0.0.1:9001");
        drop(other);
        bed.run(&["update", "-p", "127.0.0.1:9000:80", &id]).ok();
        answers("127.0.0.1:9000");
        is_closed("127.0.0.1:8080");
    });
}
