//! The programs of `tests/checkpoint`: each sets a kernel object up, makes `/data/ready`, waits for `/data/go`, looks at
//! what it has and writes `/data/verdict`.

use std::path::Path;

use crate::Bed;

const SOURCES: [&str; 9] = [
    "programs.c",
    "sockets.c",
    "terminals.c",
    "memories.c",
    "watching.c",
    "aio.c",
    "written.c",
    "sharing.c",
    "revised.c",
];

/// Makes the one binary of all of them.
pub fn compile(bed: &Bed, binary: &Path) {
    let sources = SOURCES.map(|name| format!("{}/checkpoint/{name}", env!("CARGO_MANIFEST_DIR")));
    let mut arguments: Vec<&str> = sources.iter().map(String::as_str).collect();
    arguments.extend(["-o", binary.to_str().unwrap()]);
    arguments.extend(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]);
    bed.host("cc", &arguments).ok();
}
