//! Pieces → tree.

use std::collections::VecDeque;

use serde_json::Value;

use super::lex::{Piece, Token};
use super::{Failure, Position};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If {
        condition: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        value: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        /// Names for index and element.
        index: Option<String>,
        element: Option<String>,
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Break,
    Continue,
}

/// `[$x :=] command | command …`
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    pub(super) variable: Option<(String, Binding)>,
    pub(super) commands: Vec<Command>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Binding {
    Declare,
    Assign,
}

/// A word and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
    pub(super) position: Position,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Function(String, Position),
    Literal(Value),
    /// What a chain of fields starts from, and the fields.
    Chain(Base, Vec<String>, Position),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Group(Box<Pipeline>),
}

/// Nesting that no template written by a person reaches.
const DEPTH_MAX: usize = 100;

pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, Failure> {
    let mut parser = Parser {
        pieces: pieces.into(),
        depth: 0,
        loops: 0,
    };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::Template => Ok(nodes),
        End::Closed(position) => Err(Failure::new(position, "end without a beginning")),
        End::Else(_, position) => Err(Failure::new(position, "else without if, with or range")),
    }
}

/// What a list of nodes was ended by.
enum End {
    Template,
    Closed(Position),
    Else(VecDeque<(Token, Position)>, Position),
}

struct Parser {
    pieces: VecDeque<Piece>,
    depth: usize,
    loops: usize,
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, End), Failure> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.pop_front() {
            let (tokens, position) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens, position) => (tokens, position),
            };
            let mut tokens: VecDeque<_> = tokens.into();
            let keyword = match tokens.front() {
                Some((Token::Word(word), _)) => word.clone(),
                _ => String::new(),
            };
            match keyword.as_str() {
                "if" | "with" | "range" => {
                    tokens.pop_front();
                    nodes.push(self.block(&keyword, &mut tokens, position)?);
                }
                "break" | "continue" if tokens.len() == 1 => {
                    if self.loops == 0 {
                        let why = format!("{keyword} outside of range");
                        return Err(Failure::new(position, why));
                    }
                    nodes.push(match keyword.as_str() {
                        "break" => Node::Break,
                        _ => Node::Continue,
                    });
                }
                "end" => return Ok((nodes, End::Closed(position))),
                "else" => {
                    tokens.pop_front();
                    return Ok((nodes, End::Else(tokens, position)));
                }
                "define" | "template" | "block" => {
                    let why = format!("{keyword} is not supported");
                    return Err(Failure::new(position, why));
                }
                _ => {
                    let pipeline = self.whole_pipeline(&mut tokens, position)?;
                    nodes.push(Node::Print(pipeline));
                }
            }
        }
        Ok((nodes, End::Template))
    }

    fn block(
        &mut self,
        keyword: &str,
        tokens: &mut VecDeque<(Token, Position)>,
        position: Position,
    ) -> Result<Node, Failure> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Failure::new(position, "nested too deeply"));
        }
        let (mut index, mut element) = (None, None);
        if keyword == "range" {
            (index, element) = range_names(tokens, position)?;
            self.loops += 1;
        }
        let head = self.whole_pipeline(tokens, position)?;
        let (then, end) = self.nodes()?;
        if keyword == "range" {
            self.loops -= 1;
        }
        let otherwise = match end {
            End::Template => {
                let why = format!("{keyword} without its end");
                return Err(Failure::new(position, why));
            }
            End::Closed(_) => Vec::new(),
            End::Else(mut rest, at) => match rest.pop_front() {
                None => {
                    let (otherwise, end) = self.nodes()?;
                    let End::Closed(_) = end else {
                        return Err(Failure::new(at, "else without its end"));
                    };
                    otherwise
                }
                // `else if`: the rest is a block of its own with the same end.
                Some((Token::Word(word), _)) if word == "if" || word == "with" => {
                    vec![self.block(&word, &mut rest, at)?]
                }
                Some(_) => return Err(Failure::new(at, "after else comes if, with or nothing")),
            },
        };
        self.depth -= 1;
        Ok(match keyword {
            "if" => Node::If {
                condition: head,
                then,
                otherwise,
            },
            "with" => Node::With {
                value: head,
                then,
                otherwise,
            },
            _ => Node::Range {
                index,
                element,
                over: head,
                body: then,
                otherwise,
            },
        })
    }

    fn whole_pipeline(
        &mut self,
        tokens: &mut VecDeque<(Token, Position)>,
        position: Position,
    ) -> Result<Pipeline, Failure> {
        let pipeline = self.pipeline(tokens, position)?;
        match tokens.front() {
            None => Ok(pipeline),
            Some((token, at)) => Err(Failure::new(*at, format!("unexpected {}", shown(token)))),
        }
    }

    /// Up to the end or to a closing parenthesis, which is left.
    fn pipeline(
        &mut self,
        tokens: &mut VecDeque<(Token, Position)>,
        position: Position,
    ) -> Result<Pipeline, Failure> {
        let mut variable = None;
        if let (Some((Token::Variable(name), _)), Some((sign, _))) = (tokens.front(), tokens.get(1))
        {
            let binding = match sign {
                Token::Declare => Some(Binding::Declare),
                Token::Assign => Some(Binding::Assign),
                _ => None,
            };
            if let Some(binding) = binding {
                variable = Some((name.clone(), binding));
                tokens.drain(..2);
            }
        }
        let mut commands = vec![self.command(tokens, position)?];
        while let Some((Token::Pipe, at)) = tokens.front() {
            let at = *at;
            tokens.pop_front();
            commands.push(self.command(tokens, at)?);
        }
        Ok(Pipeline { variable, commands })
    }

    fn command(
        &mut self,
        tokens: &mut VecDeque<(Token, Position)>,
        position: Position,
    ) -> Result<Command, Failure> {
        let mut operands = Vec::new();
        let position = tokens.front().map_or(position, |(_, at)| *at);
        while let Some((token, at)) = tokens.front() {
            let at = *at;
            if matches!(token, Token::Close | Token::Pipe) {
                break;
            }
            let token = token.clone();
            tokens.pop_front();
            let operand = match token {
                Token::Word(word) => match word.as_str() {
                    "true" => Operand::Literal(Value::Bool(true)),
                    "false" => Operand::Literal(Value::Bool(false)),
                    "nil" => Operand::Literal(Value::Null),
                    _ => Operand::Function(word, at),
                },
                Token::Text(text) => Operand::Literal(Value::String(text)),
                Token::Integer(number) => Operand::Literal(number.into()),
                Token::Float(number) => Operand::Literal(number.into()),
                Token::Dot => Operand::Chain(Base::Dot, Vec::new(), at),
                Token::Field { name, .. } => {
                    let mut names = vec![name];
                    names.append(&mut attached_fields(tokens));
                    Operand::Chain(Base::Dot, names, at)
                }
                Token::Variable(name) => {
                    Operand::Chain(Base::Variable(name), attached_fields(tokens), at)
                }
                Token::Open => {
                    self.depth += 1;
                    if self.depth > DEPTH_MAX {
                        return Err(Failure::new(at, "nested too deeply"));
                    }
                    let inner = self.pipeline(tokens, at)?;
                    let Some((Token::Close, _)) = tokens.pop_front() else {
                        return Err(Failure::new(at, "the parenthesis is not closed"));
                    };
                    self.depth -= 1;
                    Operand::Chain(Base::Group(Box::new(inner)), attached_fields(tokens), at)
                }
                other => {
                    return Err(Failure::new(at, format!("unexpected {}", shown(&other))));
                }
            };
            operands.push(operand);
        }
        if operands.is_empty() {
            return Err(Failure::new(position, "a value is missing"));
        }
        Ok(Command { operands, position })
    }
}

fn attached_fields(tokens: &mut VecDeque<(Token, Position)>) -> Vec<String> {
    let mut names = Vec::new();
    while let Some((
        Token::Field {
            name,
            attached: true,
        },
        _,
    )) = tokens.front()
    {
        names.push(name.clone());
        tokens.pop_front();
    }
    names
}

/// `$i, $e :=` or `$e :=` in front of what is ranged over.
fn range_names(
    tokens: &mut VecDeque<(Token, Position)>,
    position: Position,
) -> Result<(Option<String>, Option<String>), Failure> {
    let name = |at: usize, tokens: &VecDeque<(Token, Position)>| match tokens.get(at) {
        Some((Token::Variable(name), _)) => Some(name.clone()),
        _ => None,
    };
    let is = |at: usize, wanted: &Token, tokens: &VecDeque<(Token, Position)>| {
        tokens.get(at).is_some_and(|(token, _)| token == wanted)
    };
    if is(1, &Token::Comma, tokens) {
        let (Some(index), Some(element), true) = (
            name(0, tokens),
            name(2, tokens),
            is(3, &Token::Declare, tokens),
        ) else {
            let why = "range over two variables is written range $i, $e := .List";
            return Err(Failure::new(position, why));
        };
        tokens.drain(..4);
        return Ok((Some(index), Some(element)));
    }
    if is(1, &Token::Declare, tokens)
        && let Some(element) = name(0, tokens)
    {
        tokens.drain(..2);
        return Ok((None, Some(element)));
    }
    Ok((None, None))
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(word) | Token::Variable(word) => word.clone(),
        Token::Field { name, .. } => format!(".{name}"),
        Token::Dot => ".".into(),
        Token::Text(text) => format!("{text:?}"),
        Token::Integer(number) => number.to_string(),
        Token::Float(number) => number.to_string(),
        Token::Open => "(".into(),
        Token::Close => ")".into(),
        Token::Pipe => "|".into(),
        Token::Comma => ",".into(),
        Token::Declare => ":=".into(),
        Token::Assign => "=".into(),
    }
}
