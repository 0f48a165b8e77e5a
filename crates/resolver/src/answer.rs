//! What becomes of a question: answered here, asked elsewhere, or refused.

use std::net::{IpAddr, Ipv4Addr};

use crate::message::{
    Code, Data, Query, TYPE_A, TYPE_AAAA, TYPE_PTR, Transport, Unusable, refusal, reversed,
};
use crate::table::Table;

/// What to do with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Say this.
    Answer(Vec<u8>),
    /// Ask the servers of this client, or the host's if there are none.
    Forward(Query, Vec<IpAddr>),
    /// Say nothing.
    Ignore,
}

/// Decides about a message from `client`. `turn` is another number each time.
pub(crate) fn decide(
    table: &mut Table,
    forwards: bool,
    message: &[u8],
    (client, transport, turn): (Ipv4Addr, Transport, usize),
) -> Verdict {
    let query = match Query::parse(message) {
        Ok(query) => query,
        Err(Unusable::Noise) => return Verdict::Ignore,
        Err(Unusable::Wrong(id, code)) => return Verdict::Answer(refusal(id, code)),
    };
    // Nobody else has a way to us but the host.
    let Some(lease) = table.client(client).cloned() else {
        return Verdict::Answer(query.answer(Code::Refused, &[], transport));
    };
    if query.is_internet() && !query.name.is_empty() {
        if let Some(mut found) = table.find(&lease, &query.name) {
            found.retain(|address| match query.kind {
                TYPE_A => address.is_ipv4(),
                TYPE_AAAA => address.is_ipv6(),
                _ => false,
            });
            let first = turn % found.len().max(1);
            found.rotate_left(first);
            let records: Vec<Data> = found.into_iter().map(Data::Address).collect();
            return Verdict::Answer(query.answer(Code::NoError, &records, transport));
        }
        if query.kind == TYPE_PTR
            && let Some(name) =
                reversed(&query.name).and_then(|address| table.name_of(&lease, address))
        {
            let record = Data::Name(name);
            return Verdict::Answer(query.answer(Code::NoError, &[record], transport));
        }
    }
    if forwards {
        return Verdict::Forward(query, lease.servers);
    }
    Verdict::Answer(query.answer(Code::NoSuchName, &[], transport))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::code_of;
    use crate::table::tests::{lease, write};

    fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.bytes());
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        message
    }

    #[test]
    fn names_of_the_network_never_leave_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write(at, "front", "10.0.0.2", &lease(2, &["web"], &[]));
        write(at, "front", "10.0.0.3", &lease(3, &["web"], &[]));
        let mut table = Table::open(at, "front").unwrap();
        let client = Ipv4Addr::new(10, 0, 0, 2);
        let mut ask_for = |name: &str, kind, from, forwards, turn| {
            decide(
                &mut table,
                forwards,
                &ask(name, kind),
                (from, Transport::Udp, turn),
            )
        };
        let mut firsts = std::collections::HashSet::new();
        for turn in 0..2 {
            let Verdict::Answer(answer) = ask_for("web", TYPE_A, client, true, turn) else {
                panic!("not answered");
            };
            // Where the first record's address is.
            firsts.insert(answer[33..37].to_vec());
        }
        assert_eq!(firsts.len(), 2, "they take turns");
        // A type that it has no record of is no reason to ask others.
        let Verdict::Answer(answer) = ask_for("web", 15, client, true, 0) else {
            panic!("not answered");
        };
        assert_eq!((code_of(&answer), answer[7]), (Some(0), 0));
        assert!(matches!(
            ask_for("3.0.0.10.in-addr.arpa", TYPE_PTR, client, true, 0),
            Verdict::Answer(_)
        ));
        assert!(matches!(
            ask_for("example.org", TYPE_A, client, true, 0),
            Verdict::Forward(..)
        ));
        let Verdict::Answer(answer) = ask_for("example.org", TYPE_A, client, false, 0) else {
            panic!("an internal network asked outside");
        };
        assert_eq!(code_of(&answer), Some(Code::NoSuchName as u16));
        let stranger = Ipv4Addr::new(10, 0, 0, 99);
        let Verdict::Answer(answer) = ask_for("web", TYPE_A, stranger, true, 0) else {
            panic!("a stranger was served");
        };
        assert_eq!(code_of(&answer), Some(Code::Refused as u16));
    }
}
