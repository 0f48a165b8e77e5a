//! `wharf ports`: what is published, and who can reach it.

use engine::networks::PublishedPort;
use serde_json::{Value, json};
use sys::Result;

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;
use crate::output::list::ListFormat;

const COLUMNS: &str = "{{.Container}}\t{{.Published}}\t{{.To}}\t{{.ReachableFrom}}";
const HEADERS: [(&str, &str); 5] = [
    ("Container", "CONTAINER"),
    ("FilteredBy", "FILTERED BY"),
    ("Published", "PUBLISHED"),
    ("ReachableFrom", "REACHABLE FROM"),
    ("To", "TO"),
];

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    let published = engine.networks().published()?;
    let filters = engine.networks().foreign_filters()?;
    let rows: Vec<Value> = published.iter().map(|port| row(port, &filters)).collect();
    let format = call.given.text("format");
    let rendered = ListFormat::parse(format, COLUMNS)?.render(&rows, &HEADERS)?;
    output::print(&rendered)?;
    if !filters.is_empty() && !published.is_empty() && format.is_none() {
        output::note(&format!(
            "What comes from other hosts also has to pass: {}",
            filters.join(", ")
        ));
    }
    Ok(DONE)
}

fn row(published: &PublishedPort, filters: &[String]) -> Value {
    let port = &published.port;
    json!({
        "Container": published.container,
        "FilteredBy": filters.join(", "),
        "Published": format!("{}/{}", port.host, port.protocol),
        "ReachableFrom": reachable_from(port.host.ip()),
        "To": published.to,
    })
}

fn reachable_from(address: std::net::IpAddr) -> String {
    if address.is_loopback() {
        "this host alone".to_owned()
    } else if address.is_unspecified() {
        "everybody who reaches this host".to_owned()
    } else {
        format!("everybody who reaches {address}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_comes_by_which_address() {
        assert_eq!(
            reachable_from("127.0.0.1".parse().unwrap()),
            "this host alone"
        );
        assert!(reachable_from("::".parse().unwrap()).starts_with("everybody"));
        assert!(reachable_from("192.0.2.1".parse().unwrap()).ends_with("192.0.2.1"));
    }
}
