//! JSON values as YAML that people write.

use serde_json::Value;

/// A document; maps keep their order.
pub(crate) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                text.push_str(&indent);
                text.push_str(&scalar(&Value::String(key.clone())));
                text.push(':');
                inner(value, depth, text);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                let mut item = String::new();
                block(value, depth + 1, &mut item);
                // The dash stands where the item's first line is indented.
                text.push_str(&indent);
                text.push_str("- ");
                text.push_str(item.trim_start_matches(' '));
            }
        }
        other => {
            text.push_str(&indent);
            text.push_str(&scalar(other));
            text.push('\n');
        }
    }
}

fn inner(value: &Value, depth: usize, text: &mut String) {
    let nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    if nested {
        text.push('\n');
        // A list may stand as deep as its key.
        let deeper = usize::from(value.is_object());
        block(value, depth + deeper, text);
    } else {
        text.push(' ');
        text.push_str(&scalar(value));
        text.push('\n');
    }
}

/// Strings that could be taken for something else are quoted as in JSON, which
/// YAML understands.
fn scalar(value: &Value) -> String {
    let Value::String(word) = value else {
        return value.to_string();
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let begins = word
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/');
    let reserved = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let lower = word.to_lowercase();
    if begins && word.bytes().all(plain) && !reserved.contains(&lower.as_str()) {
        return word.clone();
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn looks_as_people_write_it() {
        let value = json!({"a": {"b": [{"c": 1, "d": "x y"}, "no", []]}, "e": {}, "f": "1"});
        assert_eq!(
            yaml(&value),
            "a:\n  b:\n  - c: 1\n    d: \"x y\"\n  - \"no\"\n  - []\ne: {}\nf: \"1\"\n"
        );
    }
}
