//! Templates of `--format`: the part of Go's text/template that people use
//! with Docker's command line, over JSON.
//!
//! Fields, pipes, variables, `if`, `with`, `range`, comparison, `printf` and
//! Docker's own functions (`json`, `join`, `truncate` …). Not here:
//! `define`, `template`, `block` and `call`.
//!
//! Start reading at [`Template`]; [`lex`], [`parse`], [`evaluate`] and
//! [`functions`] are its stages.

mod evaluate;
mod functions;
mod lex;
mod parse;
mod print;

use std::fmt;

use serde_json::Value;
use sys::{Error, ErrorKind, Result};

/// The field of a row that holds its labels as a map, for `.Label "name"`.
pub(crate) const LABELS_BY_NAME: &str = "Label";

/// A template that was understood.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    nodes: Vec<parse::Node>,
}

/// What a template is rendered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Data.
    Row,
    /// The heads of a table's columns: functions that would spoil them let
    /// them through.
    Header,
}

impl Template {
    pub(crate) fn parse(source: &str) -> Result<Self> {
        let nodes = lex::split(source)
            .and_then(parse::parse)
            .map_err(Failure::into_error)?;
        Ok(Self { nodes })
    }

    pub(crate) fn render(&self, data: &Value, purpose: Purpose) -> Result<String> {
        evaluate::render(&self.nodes, data, purpose).map_err(Failure::into_error)
    }
}

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    line: usize,
    column: usize,
}

impl Position {
    fn of(source: &str, offset: usize) -> Self {
        let before = &source[..offset];
        Self {
            line: before.matches('\n').count() + 1,
            column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
        }
    }
}

/// Why a template cannot be understood or rendered, and where.
#[derive(Debug)]
struct Failure {
    position: Position,
    why: String,
    /// The data lacks a field; conditions take that for false.
    missing: bool,
}

impl Failure {
    fn new(position: Position, why: impl Into<String>) -> Self {
        Self {
            position,
            why: why.into(),
            missing: false,
        }
    }

    fn missing(position: Position, why: impl Into<String>) -> Self {
        Self {
            missing: true,
            ..Self::new(position, why)
        }
    }

    fn into_error(self) -> Error {
        Error::new(ErrorKind::InvalidInput, self.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "template at {line}:{column}: {}", self.why)
    }
}

#[cfg(test)]
mod tests;
