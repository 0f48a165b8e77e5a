//! `wharf port`.

use state::PortMapping;
use sys::{Context as _, Error, ErrorKind, Result};

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let name = call.given.text("CONTAINER").unwrap_or_default();
    let mut ports = call
        .engine()?
        .containers()
        .ports(name)
        .context(|| format!("ports of {name}"))?;
    ports.sort_by_key(|port| (port.container, port.protocol, port.host));
    let host = |port: &PortMapping| port.host.to_string();
    let lines: Vec<String> = match call.given.text("PORT") {
        None => ports
            .iter()
            .map(|port| format!("{}/{} -> {}", port.container, port.protocol, host(port)))
            .collect(),
        Some(wanted) => {
            let (range, protocol) = engine::parse::expose(wanted)?;
            let found: Vec<String> = ports
                .iter()
                .filter(|port| port.protocol == protocol && port.container == range.first)
                .map(host)
                .collect();
            if found.is_empty() {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("port {}/{protocol} of {name} is not published", range.first),
                ));
            }
            found
        }
    };
    for line in lines {
        output::print_line(&line)?;
    }
    Ok(DONE)
}
