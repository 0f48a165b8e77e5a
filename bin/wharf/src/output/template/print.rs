//! Values as text: Go's `%v` and `printf`.

use std::fmt::Write as _;

use serde_json::Value;

/// As Go prints it with `%v`.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::String(text) => text.clone(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Array(list) => {
            let inner: Vec<String> = list.iter().map(inner).collect();
            format!("[{}]", inner.join(" "))
        }
        Value::Object(map) => {
            let mut names: Vec<&String> = map.keys().collect();
            names.sort_unstable();
            let inner: Vec<String> = names
                .into_iter()
                .map(|name| format!("{name}:{}", inner(&map[name])))
                .collect();
            format!("map[{}]", inner.join(" "))
        }
    }
}

fn inner(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        other => plain(other),
    }
}

/// As Go writes JSON: no escaping of HTML, names in the data's order. What a
/// row only has to answer `.Label "name"` is left out.
pub(super) fn json(value: &Value) -> String {
    // A Value has string keys only, so writing cannot fail.
    match value {
        Value::Object(map) if map.get(super::LABELS_BY_NAME).is_some_and(Value::is_object) => {
            let mut map = map.clone();
            map.shift_remove(super::LABELS_BY_NAME);
            serde_json::to_string(&map).unwrap_or_default()
        }
        _ => serde_json::to_string(value).unwrap_or_default(),
    }
}

/// Go's `fmt.Sprintf`; faults show in the text, as in Go.
pub(super) fn printf(format: &str, arguments: &[Value]) -> String {
    let mut text = String::new();
    let mut next = arguments.iter();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = letters.next_if(|letter| "-+# 0".contains(*letter)) {
            match flag {
                '-' => verb.left = true,
                '+' => verb.plus = true,
                '#' => verb.sharp = true,
                '0' => verb.zero = true,
                _ => verb.space = true,
            }
        }
        verb.width = number(&mut letters, &mut next);
        if letters.next_if_eq(&'.').is_some() {
            verb.precision = Some(number(&mut letters, &mut next).unwrap_or(0));
        }
        match letters.next() {
            None => text.push_str("%!(NOVERB)"),
            Some('%') => text.push('%'),
            Some(kind) => match next.next() {
                None => {
                    let _ = write!(text, "%!{kind}(MISSING)");
                }
                Some(value) => text.push_str(&verb.print(kind, value)),
            },
        }
    }
    let extra: Vec<String> = next
        .map(|value| format!("{}={}", type_name(value), inner(value)))
        .collect();
    if !extra.is_empty() {
        let _ = write!(text, "%!(EXTRA {})", extra.join(", "));
    }
    text
}

/// More padding than this serves nobody.
const WIDTH_MAX: usize = 10_000;

fn number(
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    next: &mut std::slice::Iter<'_, Value>,
) -> Option<usize> {
    if letters.next_if_eq(&'*').is_some() {
        let width = next.next()?.as_u64()?;
        return Some(usize::try_from(width).unwrap_or(WIDTH_MAX).min(WIDTH_MAX));
    }
    let mut number = None;
    while let Some(digit) = letters.peek().and_then(|letter| letter.to_digit(10)) {
        letters.next();
        number = Some((number.unwrap_or(0) * 10 + digit as usize).min(WIDTH_MAX));
    }
    number
}

#[derive(Default)]
struct Verb {
    left: bool,
    plus: bool,
    sharp: bool,
    zero: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

impl Verb {
    fn print(&self, kind: char, value: &Value) -> String {
        let integer = value.as_i64();
        let text = match (kind, value) {
            ('v', Value::String(text)) if self.sharp => format!("{text:?}"),
            ('v', value) => inner(value),
            ('s', Value::String(text)) => self.cut(text),
            ('s', Value::Array(_) | Value::Object(_)) => inner(value),
            ('q', Value::String(text)) => format!("{text:?}"),
            ('x', Value::String(text)) => text.bytes().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }),
            ('t', Value::Bool(truth)) => truth.to_string(),
            ('T', value) => type_name(value).to_owned(),
            ('d', Value::Number(number)) if number.is_i64() || number.is_u64() => {
                self.signed(&number.to_string(), integer)
            }
            ('x', Value::Number(_)) if integer.is_some() => {
                self.signed(&format!("{:x}", integer.unwrap_or(0)), integer)
            }
            ('X', Value::Number(_)) if integer.is_some() => {
                self.signed(&format!("{:X}", integer.unwrap_or(0)), integer)
            }
            ('o', Value::Number(_)) if integer.is_some() => {
                self.signed(&format!("{:o}", integer.unwrap_or(0)), integer)
            }
            ('f' | 'F', Value::Number(number)) => {
                let digits = self.precision.unwrap_or(6);
                let number = number.as_f64().unwrap_or(0.0);
                self.signed(&format!("{number:.digits$}"), integer)
            }
            ('g', Value::Number(number)) => number.to_string(),
            (kind, value) => format!("%!{kind}({}={})", type_name(value), inner(value)),
        };
        self.pad(text, value.is_number())
    }

    fn cut(&self, text: &str) -> String {
        match self.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.to_owned(),
        }
    }

    fn signed(&self, digits: &str, integer: Option<i64>) -> String {
        match integer {
            Some(0..) if self.plus => format!("+{digits}"),
            Some(0..) if self.space => format!(" {digits}"),
            _ => digits.to_owned(),
        }
    }

    fn pad(&self, text: String, is_number: bool) -> String {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        if missing == 0 {
            text
        } else if self.left {
            text + &" ".repeat(missing)
        } else if self.zero && is_number {
            match text.strip_prefix(['-', '+']) {
                Some(digits) => text[..1].to_owned() + &"0".repeat(missing) + digits,
                None => "0".repeat(missing) + &text,
            }
        } else {
            " ".repeat(missing) + &text
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
