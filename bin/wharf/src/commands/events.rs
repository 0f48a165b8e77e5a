//! `wharf events`.

use engine::events::EventsRequest;
use engine::parse;
use serde_json::{Value, json};
use state::{Event, EventKind, Timestamp};
use sys::Result;

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;
use crate::output::template::{Purpose, Template};

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let now = Timestamp::now();
    let time = |option: &str| {
        given
            .text(option)
            .map(|text| parse::time(text, now))
            .transpose()
    };
    let request = EventsRequest {
        since: time("since")?,
        until: time("until")?,
        filters: call.filters()?,
    };
    let template = match given.text("format") {
        None | Some("") => None,
        Some("json") => Some(Template::parse("{{json .}}")?),
        Some(format) => Some(Template::parse(format)?),
    };
    call.engine()?.events(&request, &mut |event| {
        let line = match &template {
            Some(template) => template.render(&as_docker(event), Purpose::Row)?,
            None => line(event),
        };
        output::print_line(&line)
    })?;
    Ok(DONE)
}

/// `2026-01-31T12:00:00.000000000Z container start ID (image=a, name=b)`.
fn line(event: &Event) -> String {
    let attributes: Vec<String> = event
        .attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let start = format!(
        "{} {} {} {}",
        event.time,
        event.kind.word(),
        event.action,
        event.id
    );
    if attributes.is_empty() {
        return start;
    }
    format!("{start} ({})", attributes.join(", "))
}

/// The shape of Docker's event stream.
fn as_docker(event: &Event) -> Value {
    let mut value = json!({
        "Type": event.kind.word(),
        "Action": event.action,
        "Actor": { "ID": event.id, "Attributes": event.attributes },
        "scope": "local",
        "time": event.time.as_seconds(),
        "timeNano": event.time.as_nanos(),
    });
    if event.kind == EventKind::Container {
        value["status"] = event.action.clone().into();
        value["id"] = event.id.clone().into();
        value["from"] = event
            .attributes
            .get("image")
            .cloned()
            .unwrap_or_default()
            .into();
    }
    value
}
