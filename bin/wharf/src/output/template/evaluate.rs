//! Tree and data → text.

use std::ops::ControlFlow;

use serde_json::Value;

use super::parse::{Base, Binding, Command, Node, Operand, Pipeline};
use super::print::plain;
use super::{Failure, Position, Purpose, functions};

/// More text than anybody wants to see, so that a loop over a large list in
/// a loop ends.
const OUTPUT_MAX: usize = 64 << 20;

pub(super) fn render(nodes: &[Node], data: &Value, purpose: Purpose) -> Result<String, Failure> {
    let mut scope = Scope {
        variables: vec![("$".to_owned(), data.clone())],
        output: String::new(),
        purpose,
    };
    // Break and continue exist only in loops, which take them.
    let _ = scope.nodes(nodes, data)?;
    Ok(scope.output)
}

/// What ends the pass through a loop's body early.
enum Jump {
    Break,
    Continue,
}

pub(super) struct Scope {
    /// Innermost last.
    variables: Vec<(String, Value)>,
    output: String,
    pub(super) purpose: Purpose,
}

impl Scope {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<ControlFlow<Jump>, Failure> {
        for node in nodes {
            if let ControlFlow::Break(jump) = self.node(node, dot)? {
                return Ok(ControlFlow::Break(jump));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<ControlFlow<Jump>, Failure> {
        let outer = self.variables.len();
        let flow = match node {
            Node::Text(text) => {
                self.output.push_str(text);
                ControlFlow::Continue(())
            }
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variable.is_none() {
                    self.output.push_str(&plain(&value));
                }
                if self.output.len() > OUTPUT_MAX {
                    let position = pipeline.commands[0].position;
                    return Err(Failure::new(position, "the output is too long"));
                }
                // A variable lives on after its action.
                return Ok(ControlFlow::Continue(()));
            }
            Node::If {
                condition,
                then,
                otherwise,
            } => {
                let holds = truth(&self.lenient(condition, dot)?);
                self.nodes(if holds { then } else { otherwise }, dot)?
            }
            Node::With {
                value,
                then,
                otherwise,
            } => {
                let value = self.lenient(value, dot)?;
                if truth(&value) {
                    self.nodes(then, &value)?
                } else {
                    self.nodes(otherwise, dot)?
                }
            }
            Node::Range {
                index,
                element,
                over,
                body,
                otherwise,
            } => {
                let list = elements(self.pipeline(over, dot)?, over.commands[0].position)?;
                let mut flow = ControlFlow::Continue(());
                if list.is_empty() {
                    flow = self.nodes(otherwise, dot)?;
                }
                let before = self.variables.len();
                for (key, value) in list {
                    self.variables.truncate(before);
                    if let Some(name) = index {
                        self.variables.push((name.clone(), key));
                    }
                    if let Some(name) = element {
                        self.variables.push((name.clone(), value.clone()));
                    }
                    if let ControlFlow::Break(Jump::Break) = self.nodes(body, &value)? {
                        break;
                    }
                }
                flow
            }
            Node::Break => ControlFlow::Break(Jump::Break),
            Node::Continue => ControlFlow::Break(Jump::Continue),
        };
        self.variables.truncate(outer);
        Ok(flow)
    }

    /// As [`Scope::pipeline`]; what is missing is null.
    fn lenient(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Failure> {
        match self.pipeline(pipeline, dot) {
            Err(failure) if failure.missing => Ok(Value::Null),
            other => other,
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Failure> {
        let mut value: Option<Value> = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value, dot)?);
        }
        let value = value.unwrap_or(Value::Null);
        if let Some((name, binding)) = &pipeline.variable {
            let known = self.variables.iter_mut().rev().find(|(n, _)| n == name);
            match (binding, known) {
                (Binding::Assign, Some((_, slot))) => *slot = value.clone(),
                (Binding::Assign, None) => {
                    return Err(undefined(name, pipeline.commands[0].position));
                }
                (Binding::Declare, _) => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    fn command(
        &mut self,
        command: &Command,
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, Failure> {
        let position = command.position;
        let (first, rest) = command
            .operands
            .split_first()
            .ok_or_else(|| Failure::new(position, "a value is missing"))?;
        match first {
            Operand::Function(name, at) => {
                if matches!(name.as_str(), "and" | "or" | "not") {
                    return self.logic(name, rest, piped, dot);
                }
                let mut arguments = Vec::with_capacity(rest.len() + 1);
                for operand in rest {
                    arguments.push(self.operand(operand, dot)?);
                }
                arguments.extend(piped);
                functions::call(name, arguments, self.purpose, *at)
            }
            // Docker's `.Label "name"`: a field that is asked for a key.
            Operand::Chain(_, fields, at)
                if !fields.is_empty() && rest.len() + usize::from(piped.is_some()) == 1 =>
            {
                let map = self.operand(first, dot)?;
                let key = match piped {
                    Some(key) => key,
                    None => self.operand(&rest[0], dot)?,
                };
                match (&map, &key) {
                    (Value::Object(map), Value::String(key)) => {
                        Ok(map.get(key).cloned().unwrap_or_else(|| "".into()))
                    }
                    // In a header `.Label "x"` stands for the column.
                    (Value::String(_), Value::String(key)) if self.purpose == Purpose::Header => {
                        Ok(last_word(key).into())
                    }
                    _ => Err(Failure::new(
                        *at,
                        format!(".{} takes no argument", fields.join(".")),
                    )),
                }
            }
            Operand::Chain(_, _, at) if !rest.is_empty() || piped.is_some() => {
                Err(Failure::new(*at, "a value takes no argument"))
            }
            Operand::Literal(_) if !rest.is_empty() || piped.is_some() => {
                Err(Failure::new(position, "a constant takes no argument"))
            }
            operand => self.operand(operand, dot),
        }
    }

    /// `and`, `or`, `not`: later operands are looked at only if they count.
    fn logic(
        &mut self,
        name: &str,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, Failure> {
        let mut last = Value::Null;
        let mut count = 0;
        for operand in operands {
            last = match self.operand(operand, dot) {
                Err(failure) if failure.missing => Value::Null,
                other => other?,
            };
            count += 1;
            if name == "and" && !truth(&last) || name == "or" && truth(&last) {
                return Ok(last);
            }
        }
        if let Some(piped) = piped {
            last = piped;
            count += 1;
        }
        let position = match operands.first() {
            Some(Operand::Function(_, at) | Operand::Chain(_, _, at)) => *at,
            _ => Position { line: 1, column: 1 },
        };
        match (name, count) {
            ("not", 1) => Ok(Value::Bool(!truth(&last))),
            ("not", _) => Err(Failure::new(position, "not takes one argument")),
            (_, 0) => Err(Failure::new(position, format!("{name} takes arguments"))),
            _ => Ok(last),
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Failure> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Function(name, at) => functions::call(name, Vec::new(), self.purpose, *at),
            Operand::Chain(Base::Dot, fields, at) => Ok(descend(dot, fields, *at)?.clone()),
            Operand::Chain(Base::Variable(name), fields, at) => {
                let known = self.variables.iter().rev().find(|(n, _)| n == name);
                let (_, value) = known.ok_or_else(|| undefined(name, *at))?;
                Ok(descend(value, fields, *at)?.clone())
            }
            Operand::Chain(Base::Group(pipeline), fields, at) => {
                let value = self.pipeline(pipeline, dot)?;
                Ok(descend(&value, fields, *at)?.clone())
            }
        }
    }
}

fn undefined(name: &str, position: Position) -> Failure {
    Failure::new(position, format!("there is no variable {name}"))
}

/// Follows fields into a value.
fn descend<'a>(
    value: &'a Value,
    fields: &[String],
    position: Position,
) -> Result<&'a Value, Failure> {
    let mut value = value;
    for (depth, field) in fields.iter().enumerate() {
        let whose = match &fields[..depth] {
            [] => String::new(),
            before => format!(" in .{}", before.join(".")),
        };
        value = match value {
            Value::Object(map) => map.get(field).ok_or_else(|| {
                let mut names: Vec<&str> = map.keys().map(String::as_str).collect();
                names.sort_unstable();
                let there = if names.is_empty() {
                    "it is empty".to_owned()
                } else {
                    format!("there is {}", names.join(", "))
                };
                Failure::missing(
                    position,
                    format!("there is no field {field}{whose}: {there}"),
                )
            })?,
            Value::Null => {
                let why = format!("there is no field {field}{whose}: it is empty");
                return Err(Failure::missing(position, why));
            }
            _ => {
                let why = format!("there is no field {field}{whose}: it is a plain value");
                return Err(Failure::new(position, why));
            }
        };
    }
    Ok(value)
}

/// What a range goes over, with its keys; maps by name.
fn elements(value: Value, position: Position) -> Result<Vec<(Value, Value)>, Failure> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => Ok(list
            .into_iter()
            .enumerate()
            .map(|(index, value)| (index.into(), value))
            .collect()),
        Value::Object(map) => {
            let mut list: Vec<(String, Value)> = map.into_iter().collect();
            list.sort_by(|(one, _), (other, _)| one.cmp(other));
            Ok(list
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect())
        }
        Value::Number(count) => Ok((0..count.as_u64().unwrap_or(0))
            .map(|index| (index.into(), index.into()))
            .collect()),
        _ => Err(Failure::new(position, "range goes over a list or a map")),
    }
}

/// Go's truth: what is not empty and not zero.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// `com.example.my-name` heads a column as `my name`, as in Docker.
fn last_word(key: &str) -> String {
    let last = key.rsplit('.').next().unwrap_or(key);
    last.replace(['-', '_'], " ")
}
