//! A process that attaches and detaches is killed at any moment: repair
//! leaves nothing behind, and the network works. Needs root; all of it
//! happens in network namespaces of the test.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)] // shared with the other tests
mod world;

use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use network::{AttachRequest, NetworkConfig, Networks};
use state::{ContainerId, Layout};
use world::{World, answers, at, is_root, mappings, serve_tcp};

const ROOT: &str = "NETWORK_TEST_ROOT";

#[test]
fn whoever_is_killed_at_any_moment_leaves_nothing_after_repair() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let living = world.start(&["9000:80"]);
    serve_tcp(&living.netns, 80, "living");
    for round in 0..16 {
        // A process lives in the namespace of the thread that starts it.
        let mut victims: Vec<_> = (0..3)
            .map(|_| world.on_host(|| start_victim(&world.layout)))
            .collect();
        thread::sleep(Duration::from_millis(15 + round * 7));
        for victim in &mut victims {
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
        if round % 4 == 3 {
            // Somebody else's start in between mends on its own.
            let next = world.start(&["9001:80"]);
            world.detach(&next);
        }
        world.repair(&[living.id]);
        assert_eq!(world.leased(), [living.place.ipv4].into(), "round {round}");
        assert_eq!(world.published().len(), 2, "round {round}");
        assert_eq!(world.links_at_last(1).len(), 1, "round {round}");
        assert!(answers(&world.host, at("127.0.0.1", 9000)), "round {round}");
    }
}

fn start_victim(layout: &Layout) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored"])
        .env(ROOT, layout.root())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the crash test starts and kills it"]
fn victim() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let networks = Networks::open(&Layout::new(root, "/unused"), NetworkConfig::default());
    loop {
        let netns = network::create_namespace().unwrap();
        let reserved = network::reserve_ports(&["80".parse().unwrap()]).unwrap();
        let request = AttachRequest {
            ports: mappings(&reserved),
            ..AttachRequest::new(ContainerId::random().unwrap())
        };
        networks.attach(netns.as_fd(), &request).unwrap();
        networks.detach(&request.container).unwrap();
    }
}
