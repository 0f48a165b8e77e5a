//! Lists in the form that the user asked for: a table, JSON, a template.

use std::borrow::Borrow;

use serde_json::{Map, Value};
use sys::Result;

use super::table::align;
use super::template::{Purpose, Template};

/// `--format` of a list.
#[derive(Debug)]
pub(crate) enum ListFormat {
    Table(Template),
    Lines(Template),
    /// One JSON object per line.
    Json,
}

impl ListFormat {
    /// `format` as given by the user; `columns` is the table without one.
    pub(crate) fn parse(format: Option<&str>, columns: &str) -> Result<Self> {
        // In a shell `\t` is easier to write than a tab.
        let unescape = |text: &str| text.trim().replace("\\t", "\t").replace("\\n", "\n");
        let format = format.unwrap_or_default();
        Ok(match format.trim() {
            "" | "table" => Self::Table(Template::parse(columns)?),
            "json" | "{{json .}}" | "{{ json . }}" => Self::Json,
            _ => match format.strip_prefix("table ") {
                Some(columns) => Self::Table(Template::parse(&unescape(columns))?),
                None => Self::Lines(Template::parse(&unescape(format))?),
            },
        })
    }

    /// `headers` names each field's column. The rows may be made one by one:
    /// only their text is kept.
    pub(crate) fn render<Row: Borrow<Value>>(
        &self,
        rows: impl IntoIterator<Item = Row>,
        headers: &[(&str, &str)],
    ) -> Result<String> {
        let mut text = String::new();
        match self {
            Self::Json => {
                let template = Template::parse("{{json .}}")?;
                for row in rows {
                    text.push_str(&template.render(row.borrow(), Purpose::Row)?);
                    text.push('\n');
                }
                Ok(text)
            }
            Self::Lines(template) => {
                for row in rows {
                    text.push_str(&template.render(row.borrow(), Purpose::Row)?);
                    text.push('\n');
                }
                Ok(text)
            }
            Self::Table(template) => {
                let headers: Map<String, Value> = headers
                    .iter()
                    .map(|(field, head)| ((*field).to_owned(), (*head).into()))
                    .collect();
                text.push_str(&template.render(&headers.into(), Purpose::Header)?);
                for row in rows {
                    text.push('\n');
                    text.push_str(&template.render(row.borrow(), Purpose::Row)?);
                }
                Ok(align(&text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(format: Option<&str>) -> String {
        let rows = [
            json!({"ID": "abc", "Names": "web", "Labels": "a=b", "Label": {"a": "b"}}),
            json!({"ID": "def", "Names": "database", "Labels": "", "Label": {}}),
        ];
        let headers = [
            ("ID", "CONTAINER ID"),
            ("Names", "NAMES"),
            ("Labels", "LABELS"),
            ("Label", "LABEL"),
        ];
        ListFormat::parse(format, "{{.ID}}\t{{.Names}}")
            .and_then(|format| format.render(&rows, &headers))
            .unwrap()
    }

    #[test]
    fn forms_of_a_list() {
        let table = "CONTAINER ID   NAMES\nabc            web\ndef            database\n";
        assert_eq!(render(None), table);
        assert_eq!(render(Some("table")), table);
        assert_eq!(
            render(Some(r"table {{.Names}}\t{{upper .ID}}")),
            "NAMES      CONTAINER ID\nweb        ABC\ndatabase   DEF\n"
        );
        assert_eq!(render(Some("{{.Names}}")), "web\ndatabase\n");
        assert_eq!(render(Some(r#"{{.Label "a"}}-"#)), "b-\n-\n");
        assert_eq!(
            render(Some("json")).lines().next(),
            Some(r#"{"ID":"abc","Names":"web","Labels":"a=b"}"#)
        );
        assert_eq!(render(Some("json")), render(Some("{{json .}}")));
    }
}
