//! What commands print on standard output.

use std::fmt::Write as _;
use std::io::Write as _;

use sys::{Context as _, Error, ErrorKind, Result};

pub(super) fn print(text: &str) -> Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context(|| "write to standard output")
}

/// Indented, with a line end.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    text.push('\n');
    Ok(text)
}

/// On one line: for readers that take a line at a time.
pub(super) fn json_line(value: &impl serde::Serialize) -> Result<String> {
    let mut text = serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    text.push('\n');
    Ok(text)
}

/// Columns as wide as their widest cell and three spaces, at least twelve: as
/// the other runtimes print them.
pub(super) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    let mut line = |cells: [&str; N]| {
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            if index + 1 == N {
                text.push_str(cell);
            } else {
                let width = (width + 3).max(12);
                // Writing to a string cannot fail.
                let _ = write!(text, "{cell:<width$}");
            }
        }
        text.push('\n');
    };
    line(header);
    for row in rows {
        line(row.each_ref().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            ["a".to_owned(), "b".to_owned()],
            ["longer than twelve".to_owned(), "c".to_owned()],
        ];
        assert_eq!(
            table(["ID", "X"], &rows),
            "ID                   X\na                    b\nlonger than twelve   c\n"
        );
    }
}
