//! Questions by DNS: whatever arrives, the answer is one that a client can read and fits where it goes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use resolver::message::{Code, Data, Query, Transport, reversed};

fuzz_target!(|message: &[u8]| {
    let Ok(query) = Query::parse(message) else {
        return;
    };
    let _ = reversed(&query.name);
    let addresses = (0..=255).map(|last| Data::Address([10, 0, 0, last].into()));
    let mut records: Vec<Data> = addresses.collect();
    records.push(Data::Name(query.name.clone()));
    let udp = query.answer(Code::NoError, &records, Transport::Udp);
    assert!(udp.len() <= 1232.max(message.len()));
    assert!(query.is_answered_by(&udp, query.id));
    let tcp = query.answer(Code::NoError, &records, Transport::Tcp);
    assert!(tcp.len() <= 65_535);
    assert!(query.is_answered_by(&tcp, query.id));
});
