//! `wharf network …`: the verbs about networks; `inspect` and `prune` are
//! with their kin.

use std::collections::BTreeMap;
use std::net::IpAddr;

use engine::NewNetwork;
use engine::networks::NetworkSummary;
use engine::parse;
use serde_json::{Value, json};
use sys::{Context as _, Error, ErrorKind, Result};

use super::each::each;
use super::ps::created_at;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;
use crate::output::list::ListFormat;
use crate::output::template::LABELS_BY_NAME;

const COLUMNS: &str = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
const HEADERS: [(&str, &str); 9] = [
    ("CreatedAt", "CREATED AT"),
    ("Driver", "DRIVER"),
    ("ID", "NETWORK ID"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("Name", "NAME"),
    ("Scope", "SCOPE"),
];

pub(super) fn create(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    if !given.on_or("ipv4", true) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "there is no network without IPv4 addresses: leave --ipv4 out",
        ));
    }
    let mut reserved = BTreeMap::new();
    for text in given.texts("aux-address") {
        let (name, address) = pair(text)?;
        reserved.insert(name, ip(&address)?);
    }
    let owned = |name| given.texts(name).into_iter().map(str::to_owned).collect();
    let request = NewNetwork {
        name: given.text("NETWORK").unwrap_or_default().to_owned(),
        driver: given.text("driver").unwrap_or_default().to_owned(),
        labels: given
            .texts("label")
            .into_iter()
            .map(parse::label)
            .collect::<Result<_>>()?,
        options: given
            .texts("opt")
            .into_iter()
            .map(pair)
            .collect::<Result<_>>()?,
        subnets: owned("subnet"),
        gateways: given
            .texts("gateway")
            .into_iter()
            .map(ip)
            .collect::<Result<_>>()?,
        ranges: owned("ip-range"),
        reserved,
        ipv6: given.get_one::<bool>("ipv6").copied(),
        internal: given.on("internal"),
    };
    output::print_line(&call.engine()?.networks().create(&request)?)?;
    Ok(DONE)
}

pub(super) fn connect(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let mut endpoint = engine::endpoint("bridge")?;
    given
        .text("NETWORK")
        .unwrap_or_default()
        .clone_into(&mut endpoint.network);
    for alias in given.texts("alias") {
        endpoint.aliases.push(parse::network_alias(alias)?);
    }
    if let Some(text) = given.text("ip") {
        let IpAddr::V4(address) = ip(text)? else {
            return Err(invalid("--ip takes an IPv4 address"));
        };
        endpoint.ipv4 = Some(address);
    }
    if let Some(text) = given.text("ip6") {
        let IpAddr::V6(address) = ip(text)? else {
            return Err(invalid("--ip6 takes an IPv6 address"));
        };
        endpoint.ipv6 = Some(address);
    }
    for text in given.texts("driver-opt") {
        let (key, value) = pair(text)?;
        engine::endpoint_option(&mut endpoint, &key, &value)?;
    }
    if let Some(text) = given.text("gw-priority") {
        endpoint.priority = text
            .parse()
            .map_err(|_| invalid("--gw-priority takes a whole number"))?;
    }
    let links: Result<Vec<_>> = given.texts("link").into_iter().map(parse::link).collect();
    let container = given.text("CONTAINER").unwrap_or_default();
    call.engine()?
        .containers()
        .connect(container, &endpoint, &links?)?;
    Ok(DONE)
}

pub(super) fn disconnect(call: &Call<'_>) -> Result<u8> {
    let text = |name| call.given.text(name).unwrap_or_default();
    let force = call.given.on("force");
    call.engine()?
        .containers()
        .disconnect(text("CONTAINER"), text("NETWORK"), force)?;
    Ok(DONE)
}

pub(super) fn ls(call: &Call<'_>) -> Result<u8> {
    let filters: Vec<_> = call.filters()?;
    let networks = call.engine()?.networks().list(&filters)?;
    let truncate = !call.given.on("no-trunc");
    if call.given.on("quiet") && call.given.text("format").is_none() {
        let ids: String = networks
            .iter()
            .map(|network| id(network, truncate) + "\n")
            .collect();
        output::print(&ids)?;
        return Ok(DONE);
    }
    let rows: Vec<Value> = networks
        .iter()
        .map(|network| row(network, truncate))
        .collect();
    let format = ListFormat::parse(call.given.text("format"), COLUMNS)?;
    output::print(&format.render(&rows, &HEADERS)?)?;
    Ok(DONE)
}

fn row(network: &NetworkSummary, truncate: bool) -> Value {
    let labels: Vec<String> = network
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    json!({
        "CreatedAt": created_at(network.created),
        "Driver": network.driver,
        "ID": id(network, truncate),
        "IPv4": "true",
        "IPv6": network.ipv6.to_string(),
        "Internal": network.internal.to_string(),
        "Labels": labels.join(","),
        "Name": network.name,
        "Scope": "local",
        LABELS_BY_NAME: network.labels,
    })
}

fn id(network: &NetworkSummary, truncate: bool) -> String {
    let length = if truncate { 12 } else { network.id.len() };
    network.id.chars().take(length).collect()
}

pub(super) fn rm(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    let force = call.given.on("force");
    each(call, &call.given.texts("NETWORK"), |name| {
        engine
            .networks()
            .remove(name, force)
            .context(|| format!("remove {name}"))?;
        Ok(Some(name.to_owned()))
    })
}

fn pair(text: &str) -> Result<(String, String)> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| invalid(&format!("{text:?} has no value: write KEY=VALUE")))
}

fn ip(text: &str) -> Result<IpAddr> {
    text.parse()
        .map_err(|_| invalid(&format!("{text:?} is no IP address")))
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}
