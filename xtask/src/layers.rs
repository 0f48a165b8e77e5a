//! Who may import whom (the picture in ARCHITECTURE.md), checked against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Each crate of the product and the crates of ours that it may name.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("spec", &[]),
    ("state", &["sys", "spec"]),
    ("runtime", &["sys", "spec", "state"]),
    ("image", &["sys", "spec", "state"]),
    ("registry", &["sys", "spec", "state"]),
    ("network", &["sys", "spec", "state"]),
    ("resolver", &["sys", "state"]),
    ("checkpoint", &["runtime", "sys", "spec", "state"]),
    (
        "monitor",
        &["checkpoint", "runtime", "sys", "spec", "state"],
    ),
    (
        "engine",
        &["image", "registry", "network", "sys", "spec", "state"],
    ),
    ("wharf", &["engine", "sys", "spec", "state"]),
    (
        "wharf-runtime",
        &[
            "checkpoint",
            "monitor",
            "resolver",
            "runtime",
            "sys",
            "spec",
            "state",
        ],
    ),
    ("xtask", &[]),
    ("black-box-tests", &[]),
];

/// What `wharf-runtime` must not link, however indirectly: it is resident once per container.
const NOT_IN_THE_RUNTIME: &[&str] = &["clap", "ureq", "rustls", "tokio", "hyper", "indicatif"];

/// The crates that may hold unsafe code.
const MAY_BE_UNSAFE: &[&str] = &["sys"];

/// Prints what is wrong, if anything.
pub(crate) fn check() -> Result<(), String> {
    let metadata = metadata()?;
    let mut wrong = wrong_imports(&metadata);
    wrong.extend(wrong_links(&metadata));
    wrong.extend(missing_fences(&metadata));
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n       "))
    }
}

fn metadata() -> Result<Value, String> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--offline",
            // What other systems need was not fetched.
            "--filter-platform=x86_64-unknown-linux-gnu",
            "--manifest-path",
            manifest,
        ])
        .output()
        .map_err(|error| format!("run cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("read cargo metadata: {error}"))
}

fn wrong_imports(metadata: &Value) -> Vec<String> {
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in workspace_packages(metadata) {
        let name = text(&package["name"]);
        let Some(allowed) = allowed.get(name) else {
            wrong.push(format!(
                "crate {name} has no place in the picture yet (xtask/src/layers.rs)"
            ));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            // Tests may look sideways, products may not.
            let ours = !dependency["path"].is_null();
            if ours && dependency["kind"].is_null() && !allowed.contains(&text(&dependency["name"]))
            {
                wrong.push(format!(
                    "{name} may not import {}",
                    text(&dependency["name"])
                ));
            }
        }
    }
    wrong
}

fn wrong_links(metadata: &Value) -> Vec<String> {
    let names: BTreeMap<_, _> = list(&metadata["packages"])
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let nodes: BTreeMap<_, _> = list(&metadata["resolve"]["nodes"])
        .map(|node| (text(&node["id"]), node))
        .collect();
    let Some(start) = names.iter().find(|(_, name)| **name == "wharf-runtime") else {
        return vec!["there is no crate wharf-runtime".to_owned()];
    };
    let (mut seen, mut todo) = (BTreeSet::new(), vec![*start.0]);
    while let Some(id) = todo.pop() {
        if !seen.insert(id) {
            continue;
        }
        for dependency in nodes
            .get(id)
            .into_iter()
            .flat_map(|node| list(&node["deps"]))
        {
            if list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null()) {
                todo.push(text(&dependency["pkg"]));
            }
        }
    }
    let linked: BTreeSet<_> = seen
        .iter()
        .filter_map(|id| names.get(id).copied())
        .collect();
    let bad = NOT_IN_THE_RUNTIME
        .iter()
        .filter(|name| linked.contains(**name));
    bad.map(|name| format!("wharf-runtime links {name}"))
        .collect()
}

/// Every crate but the ones that may be unsafe forbids it in its root file.
fn missing_fences(metadata: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in workspace_packages(metadata) {
        if MAY_BE_UNSAFE.contains(&text(&package["name"])) {
            continue;
        }
        for target in list(&package["targets"]) {
            let kind = list(&target["kind"]).next().map_or("", text);
            let path = text(&target["src_path"]);
            let source = std::fs::read_to_string(path).unwrap_or_default();
            if matches!(kind, "lib" | "bin") && !source.contains("#![forbid(unsafe_code)]") {
                wrong.push(format!("{path} does not say #![forbid(unsafe_code)]"));
            }
        }
    }
    wrong
}

fn workspace_packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    let members: BTreeSet<_> = list(&metadata["workspace_members"]).map(text).collect();
    list(&metadata["packages"]).filter(move |package| members.contains(text(&package["id"])))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_keeps_to_the_picture() {
        if let Err(wrong) = super::check() {
            panic!("{wrong}");
        }
    }

    #[test]
    fn a_wrong_import_is_seen() {
        let metadata = serde_json::json!({
            "workspace_members": ["a"],
            "packages": [{
                "id": "a", "name": "engine",
                "dependencies": [
                    { "name": "runtime", "path": "/x", "kind": null },
                    { "name": "monitor", "path": "/x", "kind": "dev" },
                    { "name": "serde", "kind": null },
                ],
            }],
        });
        assert_eq!(
            super::wrong_imports(&metadata),
            ["engine may not import runtime"]
        );
    }
}
