//! Images: pull, push, list, remove, tag, load, save, import, inspect.

use crate::Engine;

/// The images of a store; one method is one verb.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    #[allow(dead_code)]
    engine: &'a Engine,
}

impl<'a> Images<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }
}

/// What happens while an image is pulled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PullEvent {}
