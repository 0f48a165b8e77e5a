//! Functions of templates: Go's and Docker's.

use std::cmp::Ordering;

use serde_json::Value;

use super::print::{json, plain, printf};
use super::{Failure, Position, Purpose};

const NAMES: &str = "and, eq, ge, gt, html, index, join, json, le, len, lower, lt, ne, not, or, \
                     pad, print, printf, println, slice, split, title, truncate, upper, urlquery";

/// Calls a function; `and`, `or` and `not` are the evaluator's.
pub(super) fn call(
    name: &str,
    arguments: Vec<Value>,
    purpose: Purpose,
    position: Position,
) -> Result<Value, Failure> {
    let wrong = |why: &str| Failure::new(position, format!("{name} {why}"));
    if purpose == Purpose::Header
        && matches!(
            name,
            "json" | "title" | "lower" | "upper" | "truncate" | "split" | "join"
        )
    {
        // The column's head stays as it is.
        return Ok(arguments
            .into_iter()
            .find(Value::is_string)
            .unwrap_or(Value::Null));
    }
    let a = arguments.as_slice();
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        _ => Err(wrong("takes text here, and got something else")),
    };
    let count = |value: &Value| {
        value
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .filter(|count| *count <= 1 << 20)
            .ok_or_else(|| wrong("takes a number here, not negative and not huge"))
    };
    Ok(match (name, a) {
        ("json", [value]) => json(value).into(),
        ("upper", [value]) => text(value)?.to_uppercase().into(),
        ("lower", [value]) => text(value)?.to_lowercase().into(),
        ("title", [value]) => title(&text(value)?).into(),
        ("split", [value, separator]) => {
            let (value, separator) = (text(value)?, text(separator)?);
            let parts: Vec<&str> = match separator.as_str() {
                // Rust would put an empty part at each end.
                "" => value.split("").filter(|part| !part.is_empty()).collect(),
                separator => value.split(separator).collect(),
            };
            parts.into()
        }
        ("join", [Value::Null, _]) => "".into(),
        ("join", [Value::Array(list), separator]) => {
            let parts: Vec<String> = list.iter().map(plain).collect();
            parts.join(&text(separator)?).into()
        }
        ("join", [_, _]) => return Err(wrong("takes a list and a separator")),
        ("truncate", [value, length]) => {
            let length = count(length)?;
            text(value)?.chars().take(length).collect::<String>().into()
        }
        ("pad", [value, before, after]) => match text(value)?.as_str() {
            "" => "".into(),
            value => {
                let (before, after) = (count(before)?, count(after)?);
                format!("{}{value}{}", " ".repeat(before), " ".repeat(after)).into()
            }
        },
        ("print", values) => joined(values).into(),
        ("println", values) => {
            let words: Vec<String> = values.iter().map(plain).collect();
            (words.join(" ") + "\n").into()
        }
        ("printf", [Value::String(format), values @ ..]) => printf(format, values).into(),
        ("len", [value]) => match value {
            Value::String(text) => text.len().into(),
            Value::Array(list) => list.len().into(),
            Value::Object(map) => map.len().into(),
            Value::Null => 0.into(),
            _ => return Err(wrong("takes a list, a map or text")),
        },
        ("index", [value, keys @ ..]) => {
            let mut value = value.clone();
            for key in keys {
                value = index(value, key).map_err(|why| wrong(&why))?;
            }
            value
        }
        ("slice", [value, bounds @ ..]) if bounds.len() <= 2 => {
            let from = bounds.first().map_or(Ok(0), count)?;
            let to = bounds.get(1).map(count).transpose()?;
            slice(value, from, to).ok_or_else(|| wrong("goes beyond the end"))?
        }
        ("eq", [value, others @ ..]) if !others.is_empty() => {
            others.iter().any(|other| equal(value, other)).into()
        }
        ("ne", [one, other]) => (!equal(one, other)).into(),
        ("lt" | "le" | "gt" | "ge", [one, other]) => {
            let order =
                order(one, other).ok_or_else(|| wrong("compares two numbers or two texts"))?;
            match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }
            .into()
        }
        ("html", values) => escape_html(&joined(values)).into(),
        ("urlquery", values) => escape_query(&joined(values)).into(),
        _ if NAMES.split(", ").any(|known| known.trim() == name) => {
            return Err(wrong(&format!(
                "does not take {} arguments of this kind",
                a.len()
            )));
        }
        _ => {
            let why = format!("there is no function {name:?}; there is {NAMES}");
            return Err(Failure::new(position, why));
        }
    })
}

/// Go's `print`: a space between neighbors of which none is text.
fn joined(values: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            text.push(' ');
        }
        text.push_str(&plain(value));
    }
    text
}

/// The first letter of each word large.
fn title(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .map(|letter| {
            let begins = !inside;
            inside = letter.is_alphanumeric() || letter == '_' || letter == '\'';
            if begins {
                letter.to_uppercase().next().unwrap_or(letter)
            } else {
                letter
            }
        })
        .collect()
}

fn index(value: Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        // As Go: a missing key of a map is its empty value.
        (Value::Object(mut map), Value::String(key)) => {
            let all_text = map.values().all(Value::is_string);
            Ok(map
                .remove(key)
                .unwrap_or(if all_text { "".into() } else { Value::Null }))
        }
        (Value::Array(mut list), Value::Number(at)) => {
            let length = list.len();
            at.as_u64()
                .and_then(|at| usize::try_from(at).ok())
                .filter(|at| *at < length)
                .map(|at| list.swap_remove(at))
                .ok_or_else(|| format!("{at} is out of range: there are {length} elements"))
        }
        (Value::String(text), Value::Number(at)) => at
            .as_u64()
            .and_then(|at| text.as_bytes().get(usize::try_from(at).ok()?).copied())
            .map(Value::from)
            .ok_or_else(|| format!("{at} is out of range")),
        (Value::Null, Value::String(_)) => Ok("".into()),
        (Value::Null, _) => Err("takes a list or a map, and there is nothing".into()),
        (Value::Object(_), _) => Err("takes text as the key of a map".into()),
        (Value::Array(_), _) => Err("takes a number as the place in a list".into()),
        _ => Err("takes a list or a map first".into()),
    }
}

fn slice(value: &Value, from: usize, to: Option<usize>) -> Option<Value> {
    match value {
        Value::String(text) => text.get(from..to.unwrap_or(text.len())).map(Value::from),
        Value::Array(list) => list
            .get(from..to.unwrap_or(list.len()))
            .map(|part| part.to_vec().into()),
        _ => None,
    }
}

fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => Some(one.cmp(&other)),
            _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
        },
        _ => None,
    }
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

fn escape_query(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut query, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                query.push(char::from(byte));
            }
            b' ' => query.push('+'),
            _ => {
                let _ = write!(query, "%{byte:02X}");
            }
        }
        query
    })
}
