//! Containers on the default network, by real packets. Needs root; all of it
//! happens in network namespaces of the test.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)] // a module of this file alone
mod world;

use std::os::fd::AsFd as _;
use std::thread;

use network::AttachRequest;
use state::ContainerId;
use sys::ErrorKind;
use world::{
    HOST4, HOST6, OUTSIDE4, World, answers, ask_tcp, ask_udp, at, is_root, is_silent, mappings,
    serve_tcp, serve_udp,
};

#[test]
fn containers_reach_each_other_the_host_and_the_outside() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let (a, b) = (world.start(&[]), world.start(&[]));
    serve_tcp(&a.netns, 80, "a");
    serve_tcp(&world.host, 81, "host");
    serve_tcp(&world.outside, 82, "outside");

    let b4 = b.place.ipv4;
    let b6 = b.place.ipv6.unwrap().address;
    let sees = |who: &str, whom: &str| Some(format!("{who} sees {whom}"));
    assert_eq!(ask_tcp(&b.netns, a.ipv4(80)), sees("a", &b4.to_string()));
    assert_eq!(ask_tcp(&b.netns, a.ipv6(80)), sees("a", &b6.to_string()));
    assert_eq!(
        ask_tcp(&a.netns, at("127.0.0.1", 80)),
        sees("a", "127.0.0.1")
    );

    let gateway = a.place.ipv4_gateway.unwrap().to_string();
    assert_eq!(ask_tcp(&world.host, a.ipv4(80)), sees("a", &gateway));
    let gateway6 = a.place.ipv6.unwrap().gateway.unwrap().to_string();
    assert_eq!(ask_tcp(&world.host, a.ipv6(80)), sees("a", &gateway6));
    assert_eq!(
        ask_tcp(&b.netns, at(&gateway, 81)),
        sees("host", &b4.to_string())
    );
    // The outside knows the host alone.
    assert_eq!(ask_tcp(&b.netns, at(OUTSIDE4, 82)), sees("outside", HOST4));
    assert_eq!(
        ask_tcp(&b.netns, at("2001:db8::2", 82)),
        sees("outside", HOST6)
    );
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    if !is_root() {
        return;
    }
    for bridge_filter in ["0", "1"] {
        let world = World::new();
        world.set_bridge_filter(bridge_filter);
        reach_published_ports(&world);
    }
}

fn reach_published_ports(world: &World) {
    let a = world.start(&["8080:80", "5353:53/udp", "6000-6002:80-82"]);
    let b = world.start(&[]);
    for port in [80, 81, 82] {
        serve_tcp(&a.netns, port, "a");
    }
    serve_udp(&a.netns, 53, "a");

    let gateway = a.place.ipv4_gateway.unwrap().to_string();
    let from = [
        ("loopback", &world.host, "127.0.0.1", &*gateway),
        ("own address", &world.host, HOST4, HOST4),
        ("own address, IPv6", &world.host, HOST6, HOST6),
        ("outside", &world.outside, HOST4, OUTSIDE4),
        ("outside, IPv6", &world.outside, HOST6, "2001:db8::2"),
        ("another container", &b.netns, HOST4, &gateway),
        ("another container, gateway", &b.netns, &gateway, &gateway),
        ("itself", &a.netns, HOST4, &gateway),
    ];
    for (place, netns, address, seen) in from {
        let said = Some(format!("a sees {seen}"));
        assert_eq!(ask_tcp(netns, at(address, 8080)), said, "TCP from {place}");
        assert_eq!(ask_udp(netns, at(address, 5353)), said, "UDP from {place}");
        for port in 6000..=6002 {
            assert!(
                ask_tcp(netns, at(address, port)).is_some(),
                "{port} from {place}"
            );
        }
    }

    world.detach(&a);
    assert!(is_silent(&world.host, at("127.0.0.1", 8080)));
    assert!(is_silent(&world.outside, at(HOST4, 8080)));
}

#[test]
fn what_is_not_published_is_not_reached_from_outside() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let ip = format!("{HOST4}:7070:80");
    let a = world.start(&["8080:80", "127.0.0.1:9090:80", &ip]);
    serve_tcp(&a.netns, 80, "a");
    serve_tcp(&a.netns, 81, "a");
    serve_tcp(&world.host, 82, "host");

    // The outsider knows the container's addresses and has a route to them.
    assert!(answers(&world.outside, at(HOST4, 8080)));
    for port in [80, 81] {
        assert!(is_silent(&world.outside, a.ipv4(port)));
        assert!(is_silent(&world.outside, a.ipv6(port)));
    }
    // A port on one address of the host is on that one alone.
    assert!(answers(&world.host, at("127.0.0.1", 9090)));
    assert!(is_silent(&world.outside, at(HOST4, 9090)));
    assert!(answers(&world.outside, at(HOST4, 7070)));
    assert!(is_silent(&world.host, at("127.0.0.1", 7070)));
    // The outsider's way to 127.0.0.1 leads to the host: neither a port
    // published there nor the host's own servers may answer.
    assert!(is_silent(&world.outside, at("127.0.0.1", 9090)));
    assert!(is_silent(&world.outside, at("127.0.0.1", 8080)));
    assert!(is_silent(&world.outside, at("127.0.0.1", 82)));
    // The kernel forwards nothing from ::1: refused at once, not silence.
    assert!(is_silent(&world.host, at("::1", 8080)));
}

#[test]
fn a_large_range_is_published_at_once() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let a = world.start(&["127.0.0.1:20000-20599:1-600/udp"]);
    serve_udp(&a.netns, 600, "a");
    assert_eq!(world.published().len(), 600);
    assert!(ask_udp(&world.host, at("127.0.0.1", 20599)).is_some());
    world.detach(&a);
    assert!(world.published().is_empty());
}

#[test]
fn the_network_changes_with_the_configuration_when_it_is_unused() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let a = world.start(&[]);
    let config = network::NetworkConfig {
        subnet: Some("172.30.8.0/24".parse().unwrap()),
        ipv6: network::Ipv6::Off,
        mtu: Some(1400),
        resolver: None,
    };
    let changed = network::Networks::open(&world.layout, config);
    let request = AttachRequest {
        ports: Vec::new(),
        ..AttachRequest::new(ContainerId::random().unwrap())
    };
    let netns = network::create_namespace().unwrap();
    let attach = || world.on_host(|| changed.attach(netns.as_fd(), &request));
    let error = attach().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    world.detach(&a);
    let place = attach().unwrap();
    assert_eq!(place.ipv4_gateway.unwrap().to_string(), "172.30.8.1");
    assert_eq!((place.ipv4_prefix, place.ipv6), (24, None));
    serve_tcp(&world.outside, 82, "outside");
    assert!(answers(&netns, at(OUTSIDE4, 82)));
}

#[test]
fn twenty_at_once_attach_and_leave_nothing_behind() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let started: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..20u16)
            .map(|turn| {
                let world = &world;
                scope.spawn(move || world.start(&[&format!("{}:80", 8000 + turn)]))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(world.leased().len(), 20);
    assert_eq!(world.container_links().len(), 20);
    // One element for each IP version.
    assert_eq!(world.published().len(), 40);
    serve_tcp(&started[7].netns, 80, "seven");
    assert!(answers(&world.host, at("127.0.0.1", 8007)));

    thread::scope(|scope| {
        for container in &started {
            let world = &world;
            scope.spawn(move || world.detach(container));
        }
    });
    assert!(world.leased().is_empty());
    assert!(world.published().is_empty());
    // A second time is fine, and so is who was never there.
    world.detach(&started[0]);
    assert!(is_silent(&world.host, started[7].ipv4(80)));
    // The wire goes with the namespace. The server holds one of them.
    drop(started);
    assert_eq!(world.links_at_last(1).len(), 1);
    world.repair(&[]);
    assert!(world.container_links().is_empty());
    world.on_host(|| {
        world
            .networks()
            .detach(&ContainerId::random().unwrap())
            .unwrap();
        world.networks().dismantle().unwrap();
    });
}

#[test]
fn repair_takes_away_the_dead_and_keeps_the_living() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.repair(&[]);
    let living = world.start(&["8080:80"]);
    serve_tcp(&living.netns, 80, "living");
    // One whose namespace is still held, one whose is gone, and two whose
    // attaching ended early.
    let held = world.start(&["8081:80"]);
    let gone = world.start(&["8082:80/udp"]);
    drop(gone.netns);
    let leases = world.layout.leases("bridge");
    let subnet = living.place.ipv4_gateway.unwrap().octets();
    let early = |last: u8| leases.join(format!("{}.{}.0.{last}", subnet[0], subnet[1]));
    std::fs::write(early(250), "").unwrap();
    let id = ContainerId::random().unwrap();
    std::fs::write(
        early(251),
        format!("{{\"container\":\"{id}\",\"ports\":[]}}"),
    )
    .unwrap();

    world.repair(&[living.id]);
    assert_eq!(world.leased(), [living.place.ipv4].into());
    assert_eq!(
        world.container_links(),
        [living.place.host_interface.clone()].into()
    );
    let published = world.published();
    assert_eq!(published.len(), 2);
    assert!(
        published
            .iter()
            .all(|one| one.comment == living.id.to_string())
    );
    assert!(answers(&world.host, at("127.0.0.1", 8080)));
    drop(held);
}

#[test]
fn rules_and_bridge_that_somebody_deleted_come_back() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let a = world.start(&["8080:80"]);
    serve_tcp(&a.netns, 80, "a");
    let name = world.own_name();

    // By the next container.
    world.on_host(|| delete_table(&name));
    assert!(is_silent(&world.host, at("127.0.0.1", 8080)));
    let b = world.start(&["8081:81"]);
    serve_tcp(&b.netns, 81, "b");
    assert!(answers(&world.host, at("127.0.0.1", 8080)));
    assert!(answers(&world.host, at("127.0.0.1", 8081)));

    // By detaching, which misses an element.
    world.on_host(|| delete_table(&name));
    world.detach(&b);
    assert!(answers(&world.host, at("127.0.0.1", 8080)));

    // By repair, the bridge too.
    world.on_host(|| {
        delete_table(&name);
        delete_link(&name);
    });
    world.repair(&[a.id]);
    assert!(answers(&world.host, at("127.0.0.1", 8080)));
    assert_eq!(world.published().len(), 2);

    // By the next container, the bridge too.
    world.on_host(|| delete_link(&name));
    let c = world.start(&[]);
    assert!(ask_tcp(&c.netns, a.ipv4(80)).is_some());
}

#[test]
fn after_a_reboot_the_containers_of_before_have_no_ports() {
    if !is_root() {
        return;
    }
    let mut world = World::new();
    drop(world.start(&["8080:80"]));
    assert_eq!(world.published().len(), 2);
    let before = world.own_name();
    world.reboot();
    let next = world.start(&["8081:80"]);
    serve_tcp(&next.netns, 80, "next");
    serve_tcp(&world.host, 8080, "a server of the host");
    assert!(answers(&world.outside, at(HOST4, 8081)));
    assert!(answers(&world.outside, at(HOST4, 8080)));
    assert_eq!(world.published().len(), 2);
    assert_eq!(world.leased(), [next.place.ipv4].into());
    assert_eq!(world.own_name(), before);
}

#[test]
fn a_dead_container_in_the_way_loses_its_port() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let mut dead = world.start(&["8080:80"]);
    // Its monitor died: the port is free, all else is still there.
    dead.reserved.clear();
    let next = world.start(&["8080:80"]);
    serve_tcp(&next.netns, 80, "next");
    let said = |world: &World| ask_tcp(&world.outside, at(HOST4, 8080));
    assert_eq!(said(&world), Some(format!("next sees {OUTSIDE4}")));
    // Cleaning up late must not take the port from its new owner.
    world.detach(&dead);
    drop(dead);
    assert_eq!(world.links_at_last(1).len(), 1);
    assert!(answers(&world.host, at("127.0.0.1", 8080)));
}

#[test]
fn a_flow_of_udp_follows_the_port_to_the_next_container() {
    if !is_root() {
        return;
    }
    let world = World::new();
    // One sender, whose packets never pause long enough to be forgotten.
    let sender = world::within(&world.outside, || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:4000").unwrap();
        socket.connect(at(HOST4, 5353)).unwrap();
        socket
    });
    let says = |who: &str| {
        let answer = world::ask_from(&sender);
        assert_eq!(answer, Some(format!("{who} sees {OUTSIDE4}")));
    };
    sender.send(b"too early").unwrap();
    let mut first = world.start(&["5353:53/udp"]);
    serve_udp(&first.netns, 53, "first");
    says("first");
    world.detach(&first);
    first.reserved.clear();
    let second = world.start(&["5353:53/udp"]);
    serve_udp(&second.netns, 53, "second");
    says("second");
}

#[test]
fn a_container_that_is_attached_again_gets_a_new_wire() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let first = world.start(&["8080:80"]);
    let request = AttachRequest {
        ports: mappings(&first.reserved),
        ..AttachRequest::new(first.id)
    };
    let netns = network::create_namespace().unwrap();
    serve_tcp(&netns, 80, "second");
    world
        .on_host(|| world.networks().attach(netns.as_fd(), &request))
        .unwrap();
    assert!(answers(&world.host, at("127.0.0.1", 8080)));
    assert_eq!(world.leased().len(), 1);
    assert_eq!(world.container_links().len(), 1);
}

#[test]
fn a_failed_attachment_leaves_nothing() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _other = world.start(&[]);
    let netns = network::create_namespace().unwrap();
    // Somebody has a link of that name inside already.
    world::within(&netns, || {
        let mut socket = sys::netlink::Socket::open(sys::netlink::Protocol::Route).unwrap();
        let link = sys::netlink::route::new_bridge("eth0", [2, 0, 0, 0, 0, 9], None);
        socket.request(link).unwrap();
    });
    let request = AttachRequest {
        ports: Vec::new(),
        ..AttachRequest::new(ContainerId::random().unwrap())
    };
    let error = world
        .on_host(|| world.networks().attach(netns.as_fd(), &request))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(world.leased().len(), 1);
    assert_eq!(world.container_links().len(), 1);
}

#[test]
fn a_bridge_has_fewer_ports_than_a_network_has_containers() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let first = world.start(&["8080:80"]);
    serve_tcp(&first.netns, 80, "first");
    // All others in one namespace: the kernel takes long to end a thousand.
    let others = network::create_namespace().unwrap();
    let join = |number: u32| {
        let id = ContainerId::random().unwrap();
        let request = AttachRequest {
            interface: format!("f{number}"),
            is_default_route: false,
            ..AttachRequest::new(id)
        };
        world
            .on_host(|| world.networks().attach(others.as_fd(), &request))
            .unwrap();
        id
    };
    // Beyond 1,023 is a matter of minutes.
    let many = std::env::var("WHARF_CONTAINERS").map_or(280, |many| many.parse().unwrap());
    let mut ids: Vec<ContainerId> = (0..280).map(join).collect();
    // Some of these are on the bridge beside, which all of them have to be
    // told nothing of. Of a question to hundreds the kernel may lose some, and
    // it is asked again.
    let comes = |sight: &dyn Fn() -> bool| (0..10).any(|_| sight());
    let sees = |who: &str, whom: &str| Some(format!("{who} sees {whom}"));
    serve_tcp(&world.outside, 82, "outside");
    let more: Vec<_> = (0..8)
        .map(|number| world.start(&[&format!("{}:80", 8090 + number)]))
        .collect();
    for (one, port) in more.iter().zip(8090..) {
        serve_tcp(&one.netns, 80, "one");
        let (own, to_first) = (one.place.ipv4.to_string(), first.ipv4(80));
        assert!(comes(
            &|| ask_tcp(&one.netns, to_first) == sees("first", &own)
        ));
        assert!(comes(&|| {
            ask_tcp(&one.netns, at(OUTSIDE4, 82)) == sees("outside", HOST4)
        }));
        assert!(comes(
            &|| ask_tcp(&world.outside, at(HOST4, port)) == sees("one", OUTSIDE4)
        ));
        assert!(comes(&|| answers(&first.netns, one.ipv6(80))));
    }
    assert!(comes(&|| answers(&world.outside, at(HOST4, 8080))));
    ids.extend((280..many).map(join));
    // What is beside goes with the last one.
    world.on_host(|| {
        for id in &ids {
            world.networks().detach(id).unwrap();
        }
    });
    for container in more.iter().chain([&first]) {
        world.detach(container);
    }
    let beside = world.on_host(|| {
        let mut socket = sys::netlink::Socket::open(sys::netlink::Protocol::Route).unwrap();
        let links = socket.dump(&sys::netlink::route::list_links()).unwrap();
        let links = links
            .iter()
            .map(|reply| sys::netlink::route::Link::parse(reply).unwrap().name);
        links
            .filter(|name| name.starts_with("whb") || name.starts_with("wht"))
            .count()
    });
    assert_eq!(beside, 0);
}

#[test]
fn two_stores_on_one_host_do_not_disturb_each_other() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let a = world.start(&["8080:80"]);
    serve_tcp(&a.netns, 80, "a");
    let other = world.other_store();
    let netns = network::create_namespace().unwrap();
    serve_tcp(&netns, 80, "other");
    let reserved = world.on_host(|| network::reserve_ports(&["8081:80".parse().unwrap()]).unwrap());
    let request = AttachRequest {
        ports: mappings(&reserved),
        ..AttachRequest::new(ContainerId::random().unwrap())
    };
    let place = world
        .on_host(|| other.attach(netns.as_fd(), &request))
        .unwrap();
    assert_ne!(place.ipv4_gateway, a.place.ipv4_gateway);
    assert!(answers(&world.outside, at(HOST4, 8080)));
    assert!(answers(&world.outside, at(HOST4, 8081)));
    // The other one's repair sees nothing of ours.
    world.on_host(|| {
        other.repair(|_| false).unwrap();
        other.dismantle().unwrap();
    });
    assert!(answers(&world.outside, at(HOST4, 8080)));
    assert!(is_silent(&world.outside, at(HOST4, 8081)));
}

#[test]
fn a_network_in_use_is_not_dismantled() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let a = world.start(&[]);
    let error = world.on_host(|| world.networks().dismantle()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    world.detach(&a);
    world.on_host(|| world.networks().dismantle()).unwrap();
}

fn delete_table(name: &str) {
    let mut socket = sys::netlink::Socket::open(sys::netlink::Protocol::Netfilter).unwrap();
    socket
        .transaction(vec![sys::netlink::nftables::delete_table(
            sys::netlink::nftables::Family::Inet,
            name,
        )])
        .unwrap();
}

fn delete_link(name: &str) {
    let mut socket = sys::netlink::Socket::open(sys::netlink::Protocol::Route).unwrap();
    let link = sys::netlink::route::LinkName::Name(name);
    socket
        .request(sys::netlink::route::delete_link(link))
        .unwrap();
}
