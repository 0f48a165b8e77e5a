//! `wharf version`.

use serde_json::json;
use sys::Result;

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::{
    self,
    template::{Purpose, Template},
};

const DEFAULT: &str = "\
Client: Wharf
 Version:    {{.Client.Version}}
 OS/Arch:    {{.Client.Os}}/{{.Client.Arch}}

Server: none is needed
";

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let (os, arch) = ("linux", architecture());
    // There is no server; scripts that ask for its version get ours.
    let data = json!({
        "Client": {"Version": version, "Os": os, "Arch": arch},
        "Server": {"Version": version, "Os": os, "Arch": arch},
    });
    match call.given.text("format") {
        None | Some("") => output::print(&Template::parse(DEFAULT)?.render(&data, Purpose::Row)?)?,
        Some("json") => output::print_line(&data.to_string())?,
        Some(format) => {
            output::print_line(&Template::parse(format)?.render(&data, Purpose::Row)?)?;
        }
    }
    Ok(DONE)
}

/// In Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
