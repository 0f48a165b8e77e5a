//! `WWW-Authenticate`: what a registry wants to see before it answers
//! (RFC 9110, section 11.6.1). The header is hostile input; this parser is
//! pure.

/// One way to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token from the server at `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// Challenges in one header are few and short.
const LONGEST: usize = 16 * 1024;
const MOST: usize = 16;

/// The challenges that a header holds and that are understood, in order.
/// Anything else in it is passed over.
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    if header.len() > LONGEST {
        return found;
    }
    let mut rest = Scanner { text: header };
    let mut open: Option<Open> = None;
    while let Some(word) = rest.word() {
        // `name=value` belongs to the challenge before it; a word alone is the
        // scheme of the next one.
        if rest.skip('=') {
            let value = rest.value();
            if let Some(open) = &mut open {
                open.set(word, value);
            }
        } else {
            found.extend(open.take().and_then(Open::finish));
            open = Some(Open::new(word));
            if found.len() >= MOST {
                return found;
            }
        }
    }
    found.extend(open.and_then(Open::finish));
    found
}

#[derive(Default)]
struct Open {
    scheme: String,
    realm: Option<String>,
    service: Option<String>,
    scope: Option<String>,
}

impl Open {
    fn new(scheme: &str) -> Self {
        Self {
            scheme: scheme.to_ascii_lowercase(),
            ..Self::default()
        }
    }

    /// The first of two parameters with one name counts.
    fn set(&mut self, name: &str, value: String) {
        let slot = match name.to_ascii_lowercase().as_str() {
            "realm" => &mut self.realm,
            "service" => &mut self.service,
            "scope" => &mut self.scope,
            _ => return,
        };
        slot.get_or_insert(value);
    }

    fn finish(self) -> Option<Challenge> {
        match self.scheme.as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => Some(Challenge::Bearer {
                realm: self.realm?,
                service: self.service,
                scope: self.scope,
            }),
            _ => None,
        }
    }
}

struct Scanner<'a> {
    text: &'a str,
}

impl<'a> Scanner<'a> {
    /// The next token, past blanks, commas and whatever is no token.
    fn word(&mut self) -> Option<&'a str> {
        self.text = self
            .text
            .trim_start_matches(|letter: char| !is_token(letter));
        let end = self
            .text
            .find(|letter: char| !is_token(letter))
            .unwrap_or(self.text.len());
        let (word, rest) = self.text.split_at(end);
        self.text = rest;
        (!word.is_empty()).then_some(word)
    }

    /// Goes past `wanted` (and blanks before it) if it comes next.
    fn skip(&mut self, wanted: char) -> bool {
        match self.text.trim_start().strip_prefix(wanted) {
            Some(rest) => {
                self.text = rest;
                true
            }
            None => false,
        }
    }

    /// A quoted string or a token.
    fn value(&mut self) -> String {
        self.text = self.text.trim_start();
        let Some(quoted) = self.text.strip_prefix('"') else {
            let end = self
                .text
                .find(|letter: char| letter == ',' || letter.is_whitespace())
                .unwrap_or(self.text.len());
            let (value, rest) = self.text.split_at(end);
            self.text = rest;
            return value.to_owned();
        };
        let mut value = String::new();
        let mut letters = quoted.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.text = &quoted[at + 1..];
                    return value;
                }
                '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
                _ => value.push(letter),
            }
        }
        self.text = "";
        value
    }
}

/// `token` of RFC 9110, section 5.6.2.
fn is_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn reads_what_registries_send() {
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull,push""#
            ),
            [bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:library/alpine:pull,push"),
            )]
        );
        assert_eq!(parse(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(parse("basic REALM=x"), [Challenge::Basic]);
        assert_eq!(
            parse(r#"Negotiate, Bearer realm = "https://a/t" , error="x, y=z", Basic realm="r""#),
            [bearer("https://a/t", None, None), Challenge::Basic]
        );
        assert_eq!(
            parse(r#"Bearer realm="a\"b\\c""#),
            [bearer(r#"a"b\c"#, None, None)]
        );
    }

    #[test]
    fn passes_over_what_is_broken() {
        assert_eq!(parse(""), []);
        assert_eq!(parse("Bearer"), []);
        assert_eq!(parse("Bearer service=x"), []);
        assert_eq!(
            parse(r#"Bearer realm="unfinished"#),
            [bearer("unfinished", None, None)]
        );
        assert_eq!(
            parse(r#"Bearer realm="a", realm="b""#),
            [bearer("a", None, None)]
        );
        assert_eq!(parse(&"Basic ".repeat(4000)), []);
        assert_eq!(parse(&"Basic ".repeat(2000)).len(), MOST);
        assert_eq!(parse("===,,,\"\"\\"), []);
    }
}
