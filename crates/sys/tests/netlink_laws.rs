//! Whatever bytes come back from a netlink socket: an answer or an error,
//! never a panic.

use proptest::prelude::*;
use sys::netlink::conntrack::Flow;
use sys::netlink::nftables::{self, TableState};
use sys::netlink::route::{self, Link};
use sys::netlink::{Attributes, Reply};

fn read_all_ways(reply: &Reply) {
    let _ = Link::parse(reply);
    let _ = route::parse_route(reply);
    let _ = TableState::parse(reply);
    let _ = nftables::parse_rule_count(reply);
    let _ = nftables::parse_elements(reply, "map");
    let _ = Flow::parse(reply);
}

/// Attributes that are well formed to some depth and nonsense below.
fn attributes() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop::collection::vec(any::<u8>(), 0..40);
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop::collection::vec((0_u16..20, any::<bool>(), inner), 0..6).prop_map(|list| {
            let mut bytes = Vec::new();
            for (kind, lie, value) in list {
                let length = value.len() + 4 + if lie { 3 } else { 0 };
                bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
                bytes.extend(kind.to_ne_bytes());
                bytes.extend(value);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        })
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for reply in Reply::parse_all(&bytes).unwrap_or_default() {
            read_all_ways(&reply);
        }
        let _ = Attributes::parse(&bytes);
    }

    #[test]
    fn any_payload_is_read_or_refused(
        fixed in prop_oneof![Just(4_usize), Just(12), Just(16)],
        body in attributes(),
    ) {
        let mut payload = vec![2; fixed];
        payload.extend(body);
        read_all_ways(&Reply { kind: 16, flags: 0, sequence: 1, payload });
    }

    #[test]
    fn well_formed_attributes_are_read(values in prop::collection::vec(
        (1_u16..1000, prop::collection::vec(any::<u8>(), 0..50)), 0..20))
    {
        let mut bytes = Vec::new();
        for (kind, value) in &values {
            bytes.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let read = Attributes::parse(&bytes).unwrap();
        let read: Vec<(u16, Vec<u8>)> = read.iter().map(|(kind, value)| (kind, value.to_vec())).collect();
        prop_assert_eq!(read, values.clone());
    }
}
