//! `wharf image tree`, `diff`, `explore`, `squash` and `rebase`.

use std::fmt::Write as _;

use engine::containers::{Change, ChangeKind};
use engine::images::{LayerView, TreeNode};
use sys::{Context as _, Error, ErrorKind, Result};

use super::ps::shortened;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::table::align;
use crate::output::{self, human};

/// So many files of a layer are shown unless all are asked for.
const LARGEST: usize = 5;

pub(super) fn tree(call: &Call<'_>) -> Result<u8> {
    let roots = call.engine()?.images().tree(call.given.text("NAME"))?;
    let mut text = "IMAGE\tID\tSIZE\tOWN".to_owned();
    for root in &roots {
        branch(root, ("", ""), &mut text);
    }
    output::print(&align(&text))?;
    Ok(DONE)
}

/// A line for the image and, below it, its children; `lines` are drawn in
/// front of its own name and in front of theirs.
fn branch(node: &TreeNode, (own, below): (&str, &str), text: &mut String) {
    let names: Vec<String> = node
        .image
        .tags
        .iter()
        .map(spec::Reference::familiar)
        .collect();
    let id = node.image.id.to_string();
    let short = id.split_once(':').map_or("", |(_, hex)| &hex[..12]);
    let name = if names.is_empty() {
        "<none>".to_owned()
    } else {
        names.join(", ")
    };
    let (size, added) = (human::size(node.image.size), human::size(node.own));
    let _ = write!(text, "\n{own}{name}\t{short}\t{size}\t{added}");
    for (at, child) in node.children.iter().enumerate() {
        let (mark, line) = if at + 1 == node.children.len() {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        branch(
            child,
            (&format!("{below}{mark}"), &format!("{below}{line}")),
            text,
        );
    }
}

pub(super) fn diff(call: &Call<'_>) -> Result<u8> {
    let text = |name| call.given.text(name).unwrap_or_default();
    let changes = call
        .engine()?
        .images()
        .diff(text("FROM"), text("TO"))
        .context(|| format!("diff of {} and {}", text("FROM"), text("TO")))?;
    super::diff::print(&changes)?;
    Ok(DONE)
}

pub(super) fn explore(call: &Call<'_>) -> Result<u8> {
    let name = call.given.text("IMAGE").unwrap_or_default();
    let layers = call
        .engine()?
        .images()
        .layers(name)
        .context(|| format!("explore {name}"))?;
    let only = match call.given.text("layer") {
        None => None,
        Some(number) => match number.parse::<usize>() {
            Ok(number) if (1..=layers.len()).contains(&number) => Some(number),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("{name} has layers 1 to {}, not {number:?}", layers.len()),
                ));
            }
        },
    };
    let mut text = String::new();
    for (number, layer) in (1..).zip(&layers) {
        if only.is_none_or(|only| only == number) {
            describe(number, layer, call.given.on("files"), &mut text);
        }
    }
    output::print(&text)?;
    Ok(DONE)
}

fn describe(number: usize, layer: &LayerView, all: bool, text: &mut String) {
    let count = |kind| {
        let mut changes = layer.changes.iter();
        let of_kind = |(change, _): &&(Change, u64)| change.kind == kind;
        changes.by_ref().filter(of_kind).count()
    };
    let id = layer
        .diff_id
        .split_once(':')
        .map_or("", |(_, hex)| &hex[..12]);
    let by = layer
        .created_by
        .replace(|letter: char| letter.is_control(), " ");
    let _ = writeln!(
        text,
        "{number:2}  {id}  {:>8}  +{} ~{} -{}  {}",
        human::size(layer.size),
        count(ChangeKind::Added),
        count(ChangeKind::Modified),
        count(ChangeKind::Deleted),
        shortened(&by, 60),
    );
    let mut shown: Vec<&(Change, u64)> = layer.changes.iter().collect();
    if !all {
        shown.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        shown.retain(|(_, size)| *size > 0);
        shown.truncate(LARGEST);
    }
    for (change, size) in shown {
        let letter = match change.kind {
            ChangeKind::Added => '+',
            ChangeKind::Modified => '~',
            ChangeKind::Deleted => '-',
        };
        let size = if *size > 0 {
            human::size(*size)
        } else {
            String::new()
        };
        let path = change.path.display().to_string();
        let path = path.replace(|letter: char| letter.is_control(), "?");
        let _ = writeln!(text, "        {letter} {size:>8}  {path}");
    }
}

pub(super) fn squash(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let image = given.text("IMAGE").unwrap_or_default();
    let message = given.text("message").map(str::to_owned);
    let squashed = call
        .engine()?
        .images()
        .squash(image, given.text("NAME"), message)?;
    output::print_line(&squashed.id.to_string())?;
    Ok(DONE)
}

pub(super) fn rebase(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let rebased = call.engine()?.images().rebase(
        given.text("IMAGE").unwrap_or_default(),
        given.text("from"),
        given.text("onto").unwrap_or_default(),
        given.text("NAME"),
    )?;
    output::print_line(&rebased.id.to_string())?;
    Ok(DONE)
}
