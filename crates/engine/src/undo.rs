//! What was done is undone, in reverse, unless all of it succeeded.

use sys::{Error, Result};

/// The steps back. Each success of a longer act pushes its own.
#[derive(Default)]
pub(crate) struct Undo<'a> {
    steps: Vec<Box<dyn FnOnce() -> Result<()> + 'a>>,
}

impl<'a> Undo<'a> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn push(&mut self, step: impl FnOnce() -> Result<()> + 'a) {
        self.steps.push(Box::new(step));
    }

    /// Everything succeeded: nothing is undone.
    pub(crate) fn disarm(mut self) {
        self.steps.clear();
    }

    /// Steps back after `error`; what could not be undone is said with it.
    pub(crate) fn roll_back(mut self, error: Error) -> Error {
        let mut failures = Vec::new();
        while let Some(step) = self.steps.pop() {
            if let Err(failure) = step() {
                failures.push(failure.to_string());
            }
        }
        if failures.is_empty() {
            return error;
        }
        let kind = error.kind();
        Error::new(
            kind,
            format!("{error}; and undoing failed: {}", failures.join("; ")),
        )
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some(step) = self.steps.pop() {
            // Only a panic comes here; reconcile heals what remains.
            let _ = step();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use sys::ErrorKind;

    use super::*;

    #[test]
    fn steps_back_in_reverse_and_says_what_failed() {
        let done = RefCell::new(Vec::new());
        let mut undo = Undo::new();
        undo.push(|| {
            done.borrow_mut().push(1);
            Ok(())
        });
        undo.push(|| Err(Error::new(ErrorKind::Internal, "stuck")));
        undo.push(|| {
            done.borrow_mut().push(3);
            Ok(())
        });
        let error = undo.roll_back(Error::new(ErrorKind::NotFound, "gone"));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.to_string(), "gone; and undoing failed: stuck");
        assert_eq!(*done.borrow(), [3, 1]);
        let mut undo = Undo::new();
        undo.push(|| {
            done.borrow_mut().push(9);
            Ok(())
        });
        undo.disarm();
        assert_eq!(done.borrow().len(), 2);
    }
}
