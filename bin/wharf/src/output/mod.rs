//! What is printed and how: tables, templates, JSON, human sizes and times.
//!
//! Start reading at [`list`]; everything that goes to stdout goes through
//! [`print`].

pub(crate) mod human;
pub(crate) mod list;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod yaml;

use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::Value;
use sys::{Context as _, Error, ErrorKind, Result};

use template::{Purpose, Template};

/// Exit code of a program in a pipe that nobody reads any more: what a shell
/// reports for SIGPIPE.
pub(crate) const PIPE_CLOSED: u8 = 141;

/// Writes to stdout. Ends the program quietly if nobody reads any more.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            std::process::exit(PIPE_CLOSED.into());
        }
        other => other.context(|| "write the output"),
    }
}

/// Writes a line to stdout; see [`print`].
pub(crate) fn print_line(line: &str) -> Result<()> {
    print(&format!("{line}\n"))
}

/// Writes a line to stderr, where a failure would have no place to be told.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Objects as `inspect` shows them: a JSON array, or a template for each.
pub(crate) fn inspected(objects: &[Value], format: Option<&str>) -> Result<String> {
    match format {
        None | Some("") => pretty(&objects).map(|text| text + "\n"),
        Some("json") => {
            let text = serde_json::to_string(objects).map_err(not_json)?;
            Ok(text + "\n")
        }
        Some(format) => {
            let template = Template::parse(format)?;
            let mut text = String::new();
            for object in objects {
                text.push_str(&template.render(object, Purpose::Row)?);
                text.push('\n');
            }
            Ok(text)
        }
    }
}

/// JSON with four spaces, as Docker prints it.
pub(crate) fn pretty<T: Serialize>(value: &T) -> Result<String> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    value.serialize(&mut serializer).map_err(not_json)?;
    // JSON that serde wrote is UTF-8.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Any of our own values as JSON.
pub(crate) fn value_of<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(not_json)
}

#[allow(clippy::needless_pass_by_value)] // as map_err gives it
fn not_json(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, error.to_string()).wrap("write JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn inspect_prints_an_array_with_four_spaces() {
        let objects = [json!({"Id": "a", "List": [], "State": {"Pid": 1}})];
        assert_eq!(
            inspected(&objects, None).unwrap(),
            "[\n    {\n        \"Id\": \"a\",\n        \"List\": [],\n        \"State\": {\n            \"Pid\": 1\n        }\n    }\n]\n"
        );
        assert_eq!(inspected(&objects, Some("{{.State.Pid}}")).unwrap(), "1\n");
        assert_eq!(inspected(&[], None).unwrap(), "[]\n");
    }
}
