//! `wharf system df`.

use engine::containers::list::state_of;
use engine::disk::DiskUsage;
use serde_json::{Value, json};
use state::Timestamp;
use sys::Result;

use super::create::short;
use super::ps::shortened;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::list::ListFormat;
use crate::output::{self, human};

const COLUMNS: &str = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const HEADERS: [(&str, &str); 5] = [
    ("Active", "ACTIVE"),
    ("Reclaimable", "RECLAIMABLE"),
    ("Size", "SIZE"),
    ("TotalCount", "TOTAL"),
    ("Type", "TYPE"),
];

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let format = call.given.text("format");
    let usage = call.engine()?.disk_usage()?;
    if call.given.on("verbose") && format.is_none() {
        output::print(&verbose(&usage)?)?;
        return Ok(DONE);
    }
    let format = ListFormat::parse(format, COLUMNS)?;
    output::print(&format.render(summary(&usage), &HEADERS)?)?;
    Ok(DONE)
}

fn summary(usage: &DiskUsage) -> Vec<Value> {
    let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(0u64, u64::saturating_add);
    let over = || usage.containers.iter().filter(|one| one.is_over());
    let unused = || usage.volumes.iter().filter(|one| one.users == 0);
    let containers = usage.containers.len();
    vec![
        line(
            "Images",
            usage.images.len(),
            usage.images.iter().filter(|one| one.containers > 0).count(),
            usage.layers,
            usage.layers_unused,
        ),
        line(
            "Containers",
            containers,
            containers - over().count(),
            sum(&mut usage.containers.iter().map(|one| one.size)),
            sum(&mut over().map(|one| one.size)),
        ),
        line(
            "Logs",
            containers,
            containers - over().count(),
            sum(&mut usage.containers.iter().map(|one| one.log)),
            sum(&mut over().map(|one| one.log)),
        ),
        line(
            "Local Volumes",
            usage.volumes.len(),
            usage.volumes.len() - unused().count(),
            sum(&mut usage.volumes.iter().map(|one| one.size)),
            sum(&mut unused().map(|one| one.size)),
        ),
        line(
            "Checkpoints",
            usage.checkpoints.len(),
            usage.checkpoints.len(),
            sum(&mut usage.checkpoints.iter().map(|one| one.size)),
            0,
        ),
        line(
            "Templates",
            usage.templates.len(),
            usage.templates.iter().filter(|one| one.clones > 0).count(),
            sum(&mut usage.templates.iter().map(|one| one.size)),
            0,
        ),
    ]
}

fn line(kind: &str, total: usize, active: usize, size: u64, reclaimable: u64) -> Value {
    let percent = reclaimable.saturating_mul(100).checked_div(size);
    let share = match percent {
        Some(percent) => format!("{} ({percent}%)", human::size(reclaimable)),
        None => human::size(reclaimable),
    };
    json!({
        "Type": kind,
        "TotalCount": total.to_string(),
        "Active": active.to_string(),
        "Size": human::size(size),
        "Reclaimable": share,
    })
}

fn verbose(usage: &DiskUsage) -> Result<String> {
    let now = Timestamp::now();
    let mut text = String::from("Images space usage:\n\n");
    let rows: Vec<Value> = usage
        .images
        .iter()
        .map(|image| {
            let created: Option<Timestamp> =
                image.created.as_ref().and_then(|text| text.parse().ok());
            json!({
                "Name": image.names.first().map_or("<none>", String::as_str),
                "ID": image.id.hex().get(..12).unwrap_or_default(),
                "Created": created.map_or_else(|| "N/A".to_owned(), |time| human::ago(now.since(time))),
                "Size": human::size(image.shared + image.unique),
                "Shared": human::size(image.shared),
                "Unique": human::size(image.unique),
                "Containers": image.containers.to_string(),
            })
        })
        .collect();
    text += &table(
        "{{.Name}}\t{{.ID}}\t{{.Created}}\t{{.Size}}\t{{.Shared}}\t{{.Unique}}\t{{.Containers}}",
        &rows,
        &[
            ("Name", "IMAGE"),
            ("ID", "IMAGE ID"),
            ("Created", "CREATED"),
            ("Size", "SIZE"),
            ("Shared", "SHARED SIZE"),
            ("Unique", "UNIQUE SIZE"),
            ("Containers", "CONTAINERS"),
        ],
    )?;
    text += "\nContainers space usage:\n\n";
    let rows: Vec<Value> = usage
        .containers
        .iter()
        .map(|one| {
            json!({
                "ID": short(&one.id),
                "Image": one.image,
                "Command": format!("{:?}", shortened(&one.command.join(" "), 20)),
                "Volumes": one.volumes.to_string(),
                "Size": human::size(one.size),
                "Log": human::size(one.log),
                "Created": human::ago(now.since(one.created)),
                "Status": state_of(&one.status),
                "Name": one.name,
            })
        })
        .collect();
    text += &table(
        "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.Volumes}}\t{{.Size}}\t{{.Log}}\t{{.Created}}\t{{.Status}}\t{{.Name}}",
        &rows,
        &[
            ("ID", "CONTAINER ID"),
            ("Image", "IMAGE"),
            ("Command", "COMMAND"),
            ("Volumes", "LOCAL VOLUMES"),
            ("Size", "SIZE"),
            ("Log", "LOG"),
            ("Created", "CREATED"),
            ("Status", "STATUS"),
            ("Name", "NAMES"),
        ],
    )?;
    text += "\nLocal Volumes space usage:\n\n";
    let rows: Vec<Value> = usage
        .volumes
        .iter()
        .map(|one| {
            json!({
                "Name": one.name,
                "Links": one.users.to_string(),
                "Size": human::size(one.size),
            })
        })
        .collect();
    text += &table(
        "{{.Name}}\t{{.Links}}\t{{.Size}}",
        &rows,
        &[
            ("Name", "VOLUME NAME"),
            ("Links", "LINKS"),
            ("Size", "SIZE"),
        ],
    )?;
    text += "\nCheckpoints space usage:\n\n";
    let rows: Vec<Value> = usage
        .checkpoints
        .iter()
        .map(|one| {
            json!({
                "Name": one.name,
                "Container": one.container,
                "Created": human::ago(now.since(one.created)),
                "Size": human::size(one.size),
            })
        })
        .collect();
    text += &table(
        "{{.Name}}\t{{.Container}}\t{{.Created}}\t{{.Size}}",
        &rows,
        &[
            ("Name", "CHECKPOINT"),
            ("Container", "CONTAINER"),
            ("Created", "CREATED"),
            ("Size", "SIZE"),
        ],
    )?;
    text += "\nTemplates space usage:\n\n";
    let rows: Vec<Value> = usage
        .templates
        .iter()
        .map(|one| {
            json!({
                "Name": one.name.clone().unwrap_or_else(|| one.id.short()),
                "Container": one.container,
                "Created": human::ago(now.since(one.created)),
                "Clones": one.clones.to_string(),
                "Size": human::size(one.size),
            })
        })
        .collect();
    text += &table(
        "{{.Name}}\t{{.Container}}\t{{.Created}}\t{{.Clones}}\t{{.Size}}",
        &rows,
        &[
            ("Name", "TEMPLATE"),
            ("Container", "CONTAINER"),
            ("Created", "CREATED"),
            ("Clones", "CLONES"),
            ("Size", "SIZE"),
        ],
    )?;
    Ok(text)
}

fn table(columns: &str, rows: &[Value], headers: &[(&str, &str)]) -> Result<String> {
    ListFormat::parse(None, columns)?.render(rows, headers)
}
