//! `wharf ps`.

use std::collections::{HashMap, HashSet};

use engine::containers::list::{ContainerSummary, ListFilter, ListRequest};
use serde_json::{Value, json};
use state::{ContainerId, PortMapping, Timestamp};
use sys::{Error, ErrorKind, Result};

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::list::ListFormat;
use crate::output::template::LABELS_BY_NAME;
use crate::output::{self, human};

const COLUMNS: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

const HEADERS: [(&str, &str); 17] = [
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    (LABELS_BY_NAME, "LABEL"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Parent", "CLONE OF"),
    ("Platform", "PLATFORM"),
    ("Ports", "PORTS"),
    ("RunningFor", "CREATED"),
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let last = given
        .text("last")
        .map(|text| {
            text.parse::<i64>().map_err(|_| {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!("--last takes a number, not {text:?}"),
                )
            })
        })
        .transpose()?
        .and_then(|last| usize::try_from(last).ok());
    let filters: Vec<ListFilter> = call.filters()?;
    let format = given.text("format");
    let size = given.on("size") || format.is_some_and(|format| format.contains(".Size"));
    let request = ListRequest {
        // Docker: who asks for a status wants to see those.
        all: given.on("all")
            || filters
                .iter()
                .any(|filter| matches!(filter, ListFilter::Status(_) | ListFilter::Exited(_))),
        last: if given.on("latest") { Some(1) } else { last },
        filters,
        size,
    };
    let mut containers = call.engine()?.containers().list(&request)?;
    call.timings.done("list");
    let truncate = !given.on("no-trunc");
    if given.on("tree") {
        containers = as_tree(containers);
    }
    if given.on("quiet") && format.is_none() {
        let ids: String = containers
            .iter()
            .map(|one| id(one, truncate) + "\n")
            .collect();
        output::print(&ids)?;
        return Ok(DONE);
    }
    let mut columns = COLUMNS.to_owned();
    if size {
        columns.push_str("\t{{.Size}}");
    }
    let format = ListFormat::parse(format, &columns)?;
    let now = Timestamp::now();
    let rows = containers
        .iter()
        .map(|container| row(container, now, truncate));
    output::print(&format.render(rows, &HEADERS)?)?;
    Ok(DONE)
}

/// Clones come after what they are clones of, if that is in the list, with
/// their depth in front of their names.
fn as_tree(containers: Vec<ContainerSummary>) -> Vec<ContainerSummary> {
    let listed: HashSet<ContainerId> = containers.iter().map(|one| one.id).collect();
    let mut children: HashMap<Option<ContainerId>, Vec<ContainerSummary>> = HashMap::new();
    for one in containers {
        let parent = one.parent.as_ref().map(|(id, _)| *id);
        let parent = parent.filter(|id| listed.contains(id));
        children.entry(parent).or_default().push(one);
    }
    let mut ordered = Vec::with_capacity(listed.len());
    // The first is taken from the end.
    let mut open: Vec<(usize, ContainerSummary)> = Vec::new();
    let mut push = |open: &mut Vec<_>, parent, depth| {
        let below = children.remove(&parent).unwrap_or_default();
        open.extend(below.into_iter().rev().map(|one| (depth, one)));
    };
    push(&mut open, None, 0);
    while let Some((depth, mut one)) = open.pop() {
        push(&mut open, Some(one.id), depth + 1);
        if depth > 0 {
            one.name = format!("{}└─ {}", "   ".repeat(depth - 1), one.name);
        }
        ordered.push(one);
    }
    ordered
}

fn row(container: &ContainerSummary, now: Timestamp, truncate: bool) -> Value {
    let labels: Vec<String> = container
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let mounts: Vec<String> = container
        .mounts
        .iter()
        .map(|mount| {
            if truncate {
                shortened(mount, 15)
            } else {
                mount.clone()
            }
        })
        .collect();
    let command = container.command.join(" ");
    let command = if truncate {
        shortened(&command, 20)
    } else {
        command
    };
    json!({
        "Command": format!("{command:?}"),
        "CreatedAt": created_at(container.created),
        "ID": id(container, truncate),
        "Image": container.image,
        "Labels": labels.join(","),
        "LocalVolumes": container.local_volumes.to_string(),
        "Mounts": mounts.join(","),
        "Names": container.name,
        "Parent": container.parent.as_ref().map_or("", |(_, name)| name),
        "Networks": container.networks.join(","),
        "Platform": "linux",
        "Ports": ports(container),
        "RunningFor": human::ago(now.since(container.created)),
        "Size": container.size.map_or_else(|| "0B".to_owned(), human::size),
        "State": container.state(),
        "Status": container.status_text(now),
        LABELS_BY_NAME: container.labels,
    })
}

fn id(container: &ContainerSummary, truncate: bool) -> String {
    let mut id = container.id.to_string();
    if truncate {
        id.truncate(12);
    }
    id
}

/// At most `most` characters, the last one an ellipsis if there were more.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// As Go prints a time: `2026-11-22 01:14:34 +0000 UTC`.
pub(super) fn created_at(time: Timestamp) -> String {
    let text = time.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(date), Some(clock)) => format!("{date} {clock} +0000 UTC"),
        _ => text,
    }
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`; neighbors are put together.
fn ports(container: &ContainerSummary) -> String {
    let mut published = container.ports.clone();
    published.sort_by_key(|port| {
        (
            port.container,
            port.protocol,
            port.host.ip(),
            port.host.port(),
        )
    });
    let mut parts: Vec<String> = Vec::new();
    let mut runs: Vec<(PortMapping, u16)> = Vec::new();
    let mut by_host = published.clone();
    by_host.sort_by_key(|port| {
        (
            port.host.ip(),
            port.protocol,
            port.container,
            port.host.port(),
        )
    });
    for port in by_host {
        match runs.last_mut() {
            Some((first, length))
                if first.host.ip() == port.host.ip()
                    && first.protocol == port.protocol
                    && first.container.checked_add(*length) == Some(port.container)
                    && first.host.port().checked_add(*length) == Some(port.host.port()) =>
            {
                *length += 1;
            }
            _ => runs.push((port, 1)),
        }
    }
    runs.sort_by_key(|(first, _)| (first.container, first.protocol, first.host.ip()));
    let range = |first: u16, length: u16| match length {
        1 => first.to_string(),
        _ => format!("{first}-{}", first + (length - 1)),
    };
    for (first, length) in runs {
        let host = match first.host.ip() {
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            std::net::IpAddr::V4(ip) => ip.to_string(),
        };
        parts.push(format!(
            "{host}:{}->{}/{}",
            range(first.host.port(), length),
            range(first.container, length),
            first.protocol
        ));
    }
    if !matches!(
        container.status,
        state::Status::Running { .. } | state::Status::Paused { .. }
    ) {
        return parts.join(", ");
    }
    for (exposed, protocol) in &container.exposed {
        let is_published = published.iter().any(|port| {
            port.protocol == *protocol && (exposed.first..=exposed.last).contains(&port.container)
        });
        if !is_published {
            let length = exposed.last - exposed.first + 1;
            parts.push(format!("{}/{protocol}", range(exposed.first, length)));
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use state::{PortRange, Protocol, Status};

    fn container() -> ContainerSummary {
        let port = |host: &str, container: u16, protocol: Protocol| PortMapping {
            host: host.parse().unwrap(),
            container,
            protocol,
        };
        let now = Timestamp::from_nanos(0);
        ContainerSummary {
            id: "4c01db0b339c0f2bd1a4b5e9a3a6a5b34c01db0b339c0f2bd1a4b5e9a3a6a5b3"
                .parse()
                .unwrap(),
            name: "web".into(),
            image: "nginx".into(),
            image_id: "sha256:4c01db0b339c0f2bd1a4b5e9a3a6a5b34c01db0b339c0f2bd1a4b5e9a3a6a5b3"
                .parse()
                .unwrap(),
            command: vec![
                "/entry".into(),
                "sh".into(),
                "-c".into(),
                "sleep \"9\"".into(),
            ],
            created: now,
            status: Status::Running { since: now },
            health: None,
            ports: vec![
                port("0.0.0.0:8080", 80, Protocol::Tcp),
                port("[::]:8080", 80, Protocol::Tcp),
                port("0.0.0.0:8081", 81, Protocol::Tcp),
                port("127.0.0.1:53", 53, Protocol::Udp),
            ],
            exposed: vec![
                (
                    PortRange {
                        first: 80,
                        last: 80,
                    },
                    Protocol::Tcp,
                ),
                (
                    PortRange {
                        first: 443,
                        last: 443,
                    },
                    Protocol::Tcp,
                ),
            ],
            labels: BTreeMap::from([("a".into(), "b".into())]),
            mounts: vec!["/a/very/long/source".into()],
            local_volumes: 0,
            networks: vec!["bridge".into()],
            size: Some(1200),
            parent: None,
        }
    }

    #[test]
    fn shows_ports_as_docker_does() {
        assert_eq!(
            ports(&container()),
            "127.0.0.1:53->53/udp, 0.0.0.0:8080-8081->80-81/tcp, [::]:8080->80/tcp, 443/tcp"
        );
    }

    #[test]
    fn rows_are_as_dockers() {
        let now = Timestamp::from_nanos(180 * 1_000_000_000);
        let row = row(&container(), now, true);
        assert_eq!(row["ID"], "4c01db0b339c");
        assert_eq!(row["Command"], "\"/entry sh -c sleep …\"");
        assert_eq!(row["CreatedAt"], "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(row["RunningFor"], "3 minutes ago");
        assert_eq!(row["Status"], "Up 3 minutes");
        assert_eq!(row["Mounts"], "/a/very/long/s…");
        assert_eq!(row["Size"], "1.2kB");
        assert_eq!(row["Labels"], "a=b");
    }
}
