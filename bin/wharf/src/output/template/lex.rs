//! Text → pieces: text outside of `{{ }}`, tokens inside.

use super::{Failure, Position};

/// What stands between `{{` and `}}`, and what stands around it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<(Token, Position)>, Position),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A keyword, a function, `true`, `nil`.
    Word(String),
    /// `.Name`; `attached` if no space stands before it (`$x.Name`).
    Field {
        name: String,
        attached: bool,
    },
    /// `.` alone.
    Dot,
    /// `$` or `$name`.
    Variable(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Open,
    Close,
    Pipe,
    Comma,
    Declare,
    Assign,
}

/// Splits a template at its actions; comments and trimmed space are gone.
pub(super) fn split(source: &str) -> Result<Vec<Piece>, Failure> {
    let mut pieces = Vec::new();
    let mut rest = source;
    let mut trim_next = false;
    loop {
        let at = source.len() - rest.len();
        let Some(open) = rest.find("{{") else {
            push_text(
                &mut pieces,
                if trim_next { rest.trim_start() } else { rest },
            );
            return Ok(pieces);
        };
        let mut text = &rest[..open];
        if trim_next {
            text = text.trim_start();
        }
        let start = at + open;
        let mut inside = &rest[open + 2..];
        let trims_before = inside.starts_with('-') && inside[1..].starts_with(char::is_whitespace);
        if trims_before {
            text = text.trim_end();
            inside = &inside[1..];
        }
        push_text(&mut pieces, text);
        let position = Position::of(source, start);
        if inside.trim_start().starts_with("/*") {
            let Some(end) = inside.find("*/") else {
                return Err(Failure::new(position, "the comment does not end"));
            };
            let after = inside[end + 2..].trim_start();
            let (after, trims) = match after.strip_prefix("-}}") {
                Some(after) => (Some(after), true),
                None => (after.strip_prefix("}}"), false),
            };
            rest = after.ok_or_else(|| Failure::new(position, "a comment ends in */}}"))?;
            trim_next = trims;
            continue;
        }
        let mut lexer = Lexer {
            source,
            at: source.len() - inside.len(),
            tokens: Vec::new(),
        };
        trim_next = lexer.action(position)?;
        rest = &source[lexer.at..];
        pieces.push(Piece::Action(lexer.tokens, position));
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    tokens: Vec<(Token, Position)>,
}

impl Lexer<'_> {
    /// Up to and with `}}`; true if space after it is trimmed.
    fn action(&mut self, opened: Position) -> Result<bool, Failure> {
        let mut spaced = true;
        loop {
            let rest = &self.source[self.at..];
            if let Some(after) = rest.strip_prefix("}}") {
                self.at = self.source.len() - after.len();
                return Ok(false);
            }
            let Some(next) = rest.chars().next() else {
                return Err(Failure::new(opened, "the action does not end in }}"));
            };
            if next.is_whitespace() {
                let trimmed = rest.trim_start();
                if let Some(after) = trimmed.strip_prefix("-}}") {
                    self.at = self.source.len() - after.len();
                    return Ok(true);
                }
                self.at = self.source.len() - trimmed.len();
                spaced = true;
                continue;
            }
            let position = Position::of(self.source, self.at);
            let token = self.token(next, !spaced)?;
            self.tokens.push((token, position));
            spaced = false;
        }
    }

    fn token(&mut self, next: char, attached: bool) -> Result<Token, Failure> {
        let rest = &self.source[self.at..];
        let position = Position::of(self.source, self.at);
        let single = match next {
            '(' => Some(Token::Open),
            ')' => Some(Token::Close),
            '|' => Some(Token::Pipe),
            ',' => Some(Token::Comma),
            '=' => Some(Token::Assign),
            _ => None,
        };
        if let Some(token) = single {
            self.at += 1;
            return Ok(token);
        }
        if rest.starts_with(":=") {
            self.at += 2;
            return Ok(Token::Declare);
        }
        let word_length = |text: &str| {
            text.find(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .unwrap_or(text.len())
        };
        match next {
            '"' => self.quoted(position),
            '`' => {
                let Some(end) = rest[1..].find('`') else {
                    return Err(Failure::new(position, "the string does not end"));
                };
                self.at += end + 2;
                Ok(Token::Text(rest[1..=end].to_owned()))
            }
            '.' if !rest[1..].starts_with(|letter: char| letter.is_ascii_digit()) => {
                let length = word_length(&rest[1..]);
                self.at += 1 + length;
                Ok(match &rest[1..=length] {
                    "" => Token::Dot,
                    name => Token::Field {
                        name: name.to_owned(),
                        attached,
                    },
                })
            }
            '$' => {
                let length = 1 + word_length(&rest[1..]);
                self.at += length;
                Ok(Token::Variable(rest[..length].to_owned()))
            }
            '+' | '-' | '.' | '0'..='9' => self.number(position),
            _ if next.is_alphabetic() || next == '_' => {
                let length = word_length(rest);
                self.at += length;
                Ok(Token::Word(rest[..length].to_owned()))
            }
            _ => Err(Failure::new(position, format!("unexpected {next:?}"))),
        }
    }

    fn number(&mut self, position: Position) -> Result<Token, Failure> {
        let rest = &self.source[self.at..];
        let length = rest[1..]
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.' && letter != '_')
            .map_or(rest.len(), |length| length + 1);
        let text = &rest[..length];
        self.at += length;
        let plain = text.replace('_', "");
        let integer = match plain.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => plain.parse().ok(),
        };
        if let Some(integer) = integer {
            return Ok(Token::Integer(integer));
        }
        plain
            .parse()
            .map(Token::Float)
            .map_err(|_| Failure::new(position, format!("{text:?} is not a number")))
    }

    fn quoted(&mut self, position: Position) -> Result<Token, Failure> {
        let unended = || Failure::new(position, "the string does not end");
        let mut text = String::new();
        let mut letters = self.source[self.at + 1..].char_indices();
        while let Some((index, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.at += index + 2;
                    return Ok(Token::Text(text));
                }
                '\n' => return Err(unended()),
                '\\' => {
                    let (_, escaped) = letters.next().ok_or_else(unended)?;
                    let hex = |count: usize, letters: &mut std::str::CharIndices<'_>| {
                        let digits: String = letters.take(count).map(|(_, digit)| digit).collect();
                        u32::from_str_radix(&digits, 16)
                            .ok()
                            .filter(|_| digits.len() == count)
                            .and_then(char::from_u32)
                    };
                    let letter = match escaped {
                        'n' => Some('\n'),
                        't' => Some('\t'),
                        'r' => Some('\r'),
                        'a' => Some('\u{7}'),
                        'x' => hex(2, &mut letters),
                        'u' => hex(4, &mut letters),
                        'U' => hex(8, &mut letters),
                        '\\' | '"' | '\'' => Some(escaped),
                        _ => None,
                    };
                    text.push(letter.ok_or_else(|| {
                        Failure::new(position, format!("\\{escaped} in a string means nothing"))
                    })?);
                }
                _ => text.push(letter),
            }
        }
        Err(unended())
    }
}
