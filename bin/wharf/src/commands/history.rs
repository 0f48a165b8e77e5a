//! `wharf history`.

use engine::images::HistoryEntry;
use serde_json::{Value, json};
use state::Timestamp;
use sys::{Context as _, Result};

use super::ps::{created_at, shortened};
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::list::ListFormat;
use crate::output::{self, human};

const COLUMNS: &str = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const EXACT_COLUMNS: &str = "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const HEADERS: [(&str, &str); 6] = [
    ("Comment", "COMMENT"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("CreatedSince", "CREATED"),
    ("ID", "IMAGE"),
    ("Size", "SIZE"),
];

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let name = given.text("IMAGE").unwrap_or_default();
    let steps = call
        .engine()?
        .images()
        .history(name)
        .context(|| format!("history of {name}"))?;
    let truncate = !given.on("no-trunc");
    if given.on("quiet") && given.text("format").is_none() {
        let ids: String = steps.iter().map(|step| id(step, truncate) + "\n").collect();
        output::print(&ids)?;
        return Ok(DONE);
    }
    let human = given.on_or("human", true);
    let columns = if human { COLUMNS } else { EXACT_COLUMNS };
    let format = ListFormat::parse(given.text("format"), columns)?;
    let now = Timestamp::now();
    let rows: Vec<Value> = steps
        .iter()
        .map(|step| row(step, now, truncate, human))
        .collect();
    output::print(&format.render(&rows, &HEADERS)?)?;
    Ok(DONE)
}

fn row(step: &HistoryEntry, now: Timestamp, truncate: bool, human: bool) -> Value {
    let created: Option<Timestamp> = step.created.as_ref().and_then(|text| text.parse().ok());
    // A step of the image's author: it must not end the line.
    let by = step
        .created_by
        .replace(|letter: char| letter.is_control(), " ");
    json!({
        "Comment": step.comment.replace(|letter: char| letter.is_control(), " "),
        "CreatedAt": created.map(created_at).unwrap_or_default(),
        "CreatedBy": if truncate { shortened(&by, 45) } else { by },
        "CreatedSince": created
            .map_or_else(|| "N/A".to_owned(), |created| human::ago(now.since(created))),
        "ID": id(step, truncate),
        "Size": if human { human::size(step.size) } else { step.size.to_string() },
    })
}

fn id(step: &HistoryEntry, truncate: bool) -> String {
    let bare = step.id.strip_prefix("sha256:");
    match bare.filter(|_| truncate).and_then(|bare| bare.get(..12)) {
        Some(short) => short.to_owned(),
        None => step.id.clone(),
    }
}
