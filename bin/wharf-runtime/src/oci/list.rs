//! `list` and `state`.

use spec::runtime::StateStatus;
use sys::Result;

use super::args::{Global, ListFormat};
use super::container::{Container, Described};
use super::output::{json, print, table};

pub(super) fn list(global: &Global, format: ListFormat, quiet: bool) -> Result<()> {
    let all = Container::all(global)?;
    if quiet {
        let mut ids = String::new();
        for container in &all {
            ids.push_str(&container.id);
            ids.push('\n');
        }
        return print(&ids);
    }
    let all: Vec<Described> = all.iter().map(Container::described).collect();
    match format {
        ListFormat::Json => print(&json(&all)?),
        ListFormat::Table => {
            let rows: Vec<_> = all.iter().map(row).collect();
            let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
            print(&table(header, &rows))
        }
    }
}

pub(super) fn state(global: &Global, id: &str) -> Result<()> {
    print(&json(&Container::load(global, id)?.described())?)
}

fn row(container: &Described) -> [String; 6] {
    let state = &container.state;
    [
        state.id.clone(),
        state.pid.unwrap_or(0).to_string(),
        word(state.status).to_owned(),
        state.bundle.display().to_string(),
        container.created.clone(),
        container.owner.clone(),
    ]
}

fn word(status: StateStatus) -> &'static str {
    match status {
        StateStatus::Creating => "creating",
        StateStatus::Created => "created",
        StateStatus::Running => "running",
        StateStatus::Paused => "paused",
        StateStatus::Stopped => "stopped",
    }
}
